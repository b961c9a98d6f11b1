//! When the protocol wants to be woken. What it asks for moves with nearly every event, so a task that sleeps
//! too short goes on sleeping, and only one that would sleep too long gets another beside it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use forebay_replication::{Event, Instant};

use super::driver::Driver;
use crate::clock;
use crate::net;

/// See the module.
#[derive(Default)]
pub(super) struct Timer {
    wanted: Cell<Option<Instant>>,
    /// What the earliest task that sleeps waits for.
    armed: Cell<Option<Instant>>,
}

impl Driver {
    /// Hands in a tick at that time, in the place of the one asked for before.
    pub(super) fn wake(self: &Rc<Self>, at: Instant) {
        self.timer.wanted.set(Some(at));
        if self.timer.armed.get().is_none_or(|armed| at < armed) {
            self.arm(at);
        }
    }

    fn arm(self: &Rc<Self>, at: Instant) {
        self.timer.armed.set(Some(at));
        let driver = Rc::clone(self);
        net::spawn(async move {
            net::sleep(Duration::from_millis(at.ms_since(clock::boottime()))).await;
            if driver.timer.armed.get() == Some(at) {
                driver.timer.armed.set(None);
                driver.woken();
            }
        });
    }

    fn woken(self: &Rc<Self>) {
        match self.timer.wanted.get() {
            Some(wanted) if wanted > clock::boottime() => self.arm(wanted),
            Some(_) => {
                self.timer.wanted.set(None);
                self.handle(Event::Tick);
            }
            None => {}
        }
    }
}
