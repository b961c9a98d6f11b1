//! Looking once, or again and again (`--watch`).

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use crate::{
    arguments::Look,
    failure::Failure,
    output::{self, Format, Report, Stdout},
};

/// Between two looks.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Puts the cursor to the top of an empty screen.
const CLEAR: &[u8] = b"\x1b[2J\x1b[H";

/// Prints what `ask` finds, and gives it back. With `--watch` it never returns: it prints again what has
/// changed, and says on standard error when nobody answers.
pub(super) async fn look<R: Report>(
    look: &Look,
    ask: impl AsyncFn() -> Result<R, Failure>,
) -> Result<R, Failure> {
    if !look.watch {
        let found = ask().await?;
        output::print(look.print.format, &found)?;
        return Ok(found);
    }
    let (mut printed, mut trouble) = (String::new(), Trouble::default());
    loop {
        if let Some(found) = trouble.unless(ask().await) {
            let text = output::text(look.print.format, &found);
            if text != printed {
                show(look.print.format, &text, printed.is_empty())?;
                printed = text;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// A page after others: in their place on a terminal, apart from them elsewhere.
fn show(format: Format, text: &str, first: bool) -> Result<(), Failure> {
    let mut stdout = Stdout::new()?;
    let between: &[u8] = match format {
        Format::Text | Format::Wide if io::stdout().is_terminal() => CLEAR,
        Format::Text | Format::Wide if !first => b"\n",
        Format::Yaml => b"---\n",
        Format::Text | Format::Wide | Format::Json => b"",
    };
    stdout.buffer().extend_from_slice(between);
    stdout.buffer().extend_from_slice(text.as_bytes());
    stdout.flush()
}

/// What was said last of what is in the way.
#[derive(Debug, Default)]
pub(super) struct Trouble(Option<String>);

impl Trouble {
    /// What was found; what is in the way is told once.
    pub(super) fn unless<R>(&mut self, found: Result<R, Failure>) -> Option<R> {
        let failure = match found {
            Ok(found) => {
                self.0 = None;
                return Some(found);
            }
            Err(failure) => failure.to_string(),
        };
        if self.0.as_ref() != Some(&failure) {
            // Whoever closed standard error does not want to know.
            let _unsaid = writeln!(io::stderr(), "trying again: {failure}");
            self.0 = Some(failure);
        }
        None
    }
}
