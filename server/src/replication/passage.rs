//! One way of messages between this node and another, on which faults on purpose may lie. Only where faults are
//! enabled: elsewhere messages go straight on.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use forebay_format::NodeId;

use super::metrics::{ReplicationMetrics, add};
use crate::clock;
use crate::faults::{Effect, Faults, LOOK_EVERY, Line, Way};
use crate::net;

/// See the module.
pub(super) struct Passage<T> {
    faults: Faults,
    metrics: Arc<ReplicationMetrics>,
    peer: NodeId,
    way: Way,
    line: RefCell<Line<T>>,
    /// A task lets go what waits.
    attended: Cell<bool>,
    go_on: Box<dyn Fn(T)>,
}

impl<T: 'static> Passage<T> {
    /// What passes is given to `go_on`, in order.
    pub(super) fn new(
        (faults, metrics): (Faults, Arc<ReplicationMetrics>),
        peer: NodeId,
        way: Way,
        go_on: impl Fn(T) + 'static,
    ) -> Rc<Self> {
        let (line, attended) = (RefCell::default(), Cell::new(false));
        Rc::new(Self { faults, metrics, peer, way, line, attended, go_on: Box::new(go_on) })
    }

    /// A message comes.
    pub(super) fn pass(self: &Rc<Self>, message: T) {
        let effect = self.faults.decide(self.peer, self.way);
        if effect != Effect::Pass {
            add(&self.metrics.faults, 1);
        }
        if !self.line.borrow_mut().push(message, effect, clock::monotonic()) {
            return;
        }
        self.let_go();
        if !self.line.borrow().is_empty() && !self.attended.replace(true) {
            net::spawn(attend(Rc::clone(self)));
        }
    }

    /// The stream broke, and with it goes what waits.
    pub(super) fn clear(&self) {
        self.line.borrow_mut().clear();
    }

    fn let_go(&self) {
        loop {
            let keeps_back = |fault| self.faults.keeps_back(fault);
            let next = self.line.borrow_mut().pop(clock::monotonic(), keeps_back);
            let Some(message) = next else { return };
            (self.go_on)(message);
        }
    }
}

/// Until nothing waits any more.
async fn attend<T: 'static>(passage: Rc<Passage<T>>) {
    while !passage.line.borrow().is_empty() {
        net::sleep(LOOK_EVERY).await;
        passage.let_go();
    }
    passage.attended.set(false);
}

impl<T> fmt::Debug for Passage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, way, .. } = self;
        f.debug_struct("Passage").field("peer", peer).field("way", way).finish_non_exhaustive()
    }
}
