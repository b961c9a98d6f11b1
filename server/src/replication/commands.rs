//! Commands that a replica was given, and who waits for their answers. Whoever drops this gives all of them up.

use std::collections::HashMap;
use std::time::Duration;

use async_channel::Receiver;
use forebay_replication::{CommandRefusal, Token};

use crate::bridge::Reply;

/// How long the answer to a command is waited for. The protocol gives up sooner what it can give up; only a
/// transaction whose outcome is not known yet may take longer.
pub(super) const COMMAND_PATIENCE: Duration = Duration::from_secs(8);

/// What became of a command.
pub(super) type Outcome = Result<(), CommandRefusal>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Commands {
    last: u64,
    waiting: HashMap<Token, Reply<Outcome>>,
}

impl Commands {
    /// A token for a command, and where its answer arrives. The way to it is closed when there will be none.
    pub(super) fn begin(&mut self) -> (Token, Receiver<Outcome>) {
        let (reply, answer) = Reply::new();
        // Those who have lost their patience.
        self.waiting.retain(|_, reply| reply.is_awaited());
        self.last += 1;
        let token = Token(self.last);
        self.waiting.insert(token, reply);
        (token, answer)
    }

    /// Answers a command, if it still waits.
    pub(super) fn answer(&mut self, token: Token, outcome: Outcome) {
        if let Some(reply) = self.waiting.remove(&token) {
            reply.send(outcome);
        }
    }

    /// There is no replica any more that could carry out what waits.
    pub(super) fn give_up(&mut self) {
        for (_, reply) in self.waiting.drain() {
            reply.send(Err(CommandRefusal::GivenUp));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_answered_once_or_given_up() {
        let mut commands = Commands::default();
        let (one, of_one) = commands.begin();
        let (_, of_two) = commands.begin();
        commands.answer(one, Ok(()));
        commands.answer(one, Err(CommandRefusal::Busy));
        assert_eq!(of_one.try_recv(), Ok(Ok(())));
        commands.give_up();
        assert_eq!(of_two.try_recv(), Ok(Err(CommandRefusal::GivenUp)));

        let (_, of_three) = commands.begin();
        drop(commands);
        assert!(of_three.is_closed(), "nobody is there who could answer");
    }

    #[test]
    fn those_that_nobody_waits_for_are_forgotten() {
        let mut commands = Commands::default();
        for _ in 0..3 {
            drop(commands.begin());
        }
        assert_eq!(commands.waiting.len(), 1, "the last one, until the next begins");
    }
}
