//! The terminal: taken on `open`, given back on drop, whatever ends the program.

use std::{
    io,
    mem::ManuallyDrop,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::{
        cursor, event,
        event::{Event, KeyEvent},
        execute, terminal,
    },
};
use tokio::sync::mpsc;

use crate::exit::{Failure, Trying};

/// Keys that may wait to be looked at; more than that wait in the terminal.
const KEYS_MAX: usize = 64;
/// How often the thread that reads keys looks whether anybody still wants them.
const READ_WAIT: Duration = Duration::from_millis(50);

/// What comes from the person at the terminal.
#[derive(Debug)]
pub(crate) enum Input {
    Key(KeyEvent),
    Resized,
    /// The terminal went away.
    Gone,
}

/// The terminal, while it is ours.
pub(crate) struct Screen {
    /// Never dropped: that would panic where the terminal is gone.
    terminal: ManuallyDrop<DefaultTerminal>,
    inputs: mpsc::Receiver<Input>,
    done: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal. A panic gives it back before it prints anything: ratatui sees to that.
    pub(crate) fn open() -> Result<Self, Failure> {
        let terminal = match ratatui::try_init() {
            Ok(terminal) => terminal,
            Err(error) => {
                give_back();
                return Err(error).trying("take the terminal");
            }
        };
        let (sender, inputs) = mpsc::channel(KEYS_MAX);
        let done = Arc::new(AtomicBool::new(false));
        std::thread::spawn({
            let done = done.clone();
            move || read(&sender, &done)
        });
        Ok(Self { terminal: ManuallyDrop::new(terminal), inputs, done })
    }

    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Failure> {
        self.terminal.draw(draw).map(|_| ()).trying("draw on the terminal")
    }

    /// The next drawing writes every character.
    pub(crate) fn clear(&mut self) -> Result<(), Failure> {
        self.terminal.clear().trying("clear the terminal")
    }

    /// Waits for a key or another size. Nothing is lost when the wait is given up.
    pub(crate) async fn input(&mut self) -> Input {
        self.inputs.recv().await.unwrap_or(Input::Gone)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The thread that reads keys is not waited for: crossterm never returns from a terminal that hung up.
        self.done.store(true, Ordering::Relaxed);
        give_back();
    }
}

/// The terminal may be gone; there is nobody to tell then. After a panic it was given back already, and leaving the
/// other screen twice would move the cursor back over the message.
fn give_back() {
    if terminal::is_raw_mode_enabled().unwrap_or(true) {
        let _ = ratatui::try_restore();
    }
    let _ = execute!(io::stdout(), cursor::Show);
}

/// Until nobody wants keys any more, or there are none to be had.
fn read(inputs: &mpsc::Sender<Input>, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let input = match event::poll(READ_WAIT) {
            Ok(false) => continue,
            Ok(true) => match event::read() {
                Ok(Event::Key(key)) => Input::Key(key),
                Ok(Event::Resize(..)) => Input::Resized,
                Ok(_) => continue,
                Err(_) => Input::Gone,
            },
            Err(_) => Input::Gone,
        };
        let gone = matches!(input, Input::Gone);
        if inputs.blocking_send(input).is_err() || gone {
            return;
        }
    }
}
