//! What keeps a client from getting on while it tries again and again: told to whoever asked for it.
//! Control flow does not depend on any of this.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use forebay_format::PartitionIndex;

use crate::lock::Lock;

/// News of what is in the way. The client goes on trying by itself.
#[derive(Debug, Clone, Copy)]
pub enum Outage<'a> {
    /// This is in the way now.
    Began(&'a (dyn Error + 'static)),
    /// Nothing is in the way any more.
    Over,
}

/// What it is that does not get on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stuck {
    /// The produce stream to this address.
    Stream(String),
    /// What is produced to this partition of a topic.
    Partition(String, PartitionIndex),
    /// The consumer of this topic.
    Consumer(String),
}

/// Called with the news.
type Listener = Box<dyn FnMut(Outage<'_>) + Send>;

/// See the module.
#[derive(Default)]
pub(crate) struct Outages {
    /// Whether anything is in the way. Answers come by the ten thousand, and look here first.
    any: AtomicBool,
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    listener: Option<Listener>,
    /// What is in the way of whom, in words.
    present: BTreeMap<Stuck, String>,
}

impl Outages {
    /// Tells `listener` from now on, and nobody else.
    pub(crate) fn listen(&self, listener: Listener) {
        self.state.with(|state| state.listener = Some(listener));
    }

    /// `cause` is in the way. Said once, however many it is in the way of, and whatever comes after it.
    pub(crate) fn began(&self, who: Stuck, cause: &(dyn Error + 'static)) {
        self.state.with(|state| {
            let words = cause.to_string();
            let is_known = state.present.contains_key(&who)
                || state.present.values().any(|known| *known == words);
            state.present.insert(who, words);
            self.any.store(true, Ordering::Relaxed);
            if let Some(listener) = state.listener.as_mut().filter(|_| !is_known) {
                listener(Outage::Began(cause));
            }
        });
    }

    /// Whether anything is in the way of anybody.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Nothing is in the way of `who`.
    pub(crate) fn over(&self, who: impl FnOnce() -> Stuck) {
        if !self.any() {
            return;
        }
        self.state.with(|state| {
            let was_present = state.present.remove(&who()).is_some();
            let all_over = was_present && state.present.is_empty();
            self.any.store(!state.present.is_empty(), Ordering::Relaxed);
            if let Some(listener) = state.listener.as_mut().filter(|_| all_over) {
                listener(Outage::Over);
            }
        });
    }
}

impl fmt::Debug for Outages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outages").field("any", &self.any).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::refusal::Refusal;

    #[test]
    fn an_outage_is_told_once_and_its_end_when_nobody_is_stuck_any_more() {
        let (sender, news) = mpsc::channel();
        let outages = Arc::new(Outages::default());
        outages.listen(Box::new(move |outage| {
            let words = match outage {
                Outage::Began(cause) => cause.to_string(),
                Outage::Over => "over".to_owned(),
            };
            sender.send(words).expect("somebody listens");
        }));
        let told = || news.try_iter().collect::<Vec<_>>();
        let full = Refusal::unavailable("full".to_owned());
        let away = Refusal::unavailable("away".to_owned());
        let partition = |index| Stuck::Partition("orders".to_owned(), PartitionIndex::new(index));

        outages.over(|| partition(0));
        assert!(told().is_empty());
        outages.began(partition(0), &full);
        outages.began(partition(0), &away);
        outages.began(partition(0), &full);
        outages.began(partition(1), &full);
        assert_eq!(told(), ["full (Unavailable)"]);
        outages.began(Stuck::Stream("a:1".to_owned()), &away);
        assert_eq!(told(), ["away (Unavailable)"]);
        outages.over(|| partition(0));
        outages.over(|| Stuck::Stream("a:1".to_owned()));
        outages.over(|| Stuck::Stream("a:1".to_owned()));
        assert!(told().is_empty());
        outages.over(|| partition(1));
        assert_eq!(told(), ["over"]);
    }
}
