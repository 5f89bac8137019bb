//! The terminal: taken over, and given back whatever happens.

use std::io::Stdout;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use super::screen;
use super::script::KEYS;
use super::show::{Face, Wish};
use super::told::Told;
use super::view::View;

/// The terminal while the demo has it. Dropping it gives it back.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal over; a panic gives it back before it prints.
    pub(super) fn take() -> std::io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()? })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl Face for Screen {
    fn tell(&mut self, _: &Told) {
        // The next picture has it.
    }

    fn show(&mut self, view: &View) -> std::io::Result<()> {
        self.terminal.draw(|frame| screen::draw(frame, view)).map(|_| ())
    }
}

/// Keys that may wait; a key that is held down must not pile up.
const WAITING: usize = 8;
const LOOK: Duration = Duration::from_millis(200);

/// What is pressed, until the receiver is gone.
pub(super) fn wishes() -> std::io::Result<mpsc::Receiver<Wish>> {
    let (sender, wishes) = mpsc::channel(WAITING);
    // A thread of its own: reading the terminal blocks.
    std::thread::Builder::new().name("keys".into()).spawn(move || {
        while !sender.is_closed() {
            let wish = match event::poll(LOOK) {
                Ok(false) => continue,
                Ok(true) => event::read().map(|event| wish(&event)),
                Err(error) => Err(error),
            };
            match wish {
                Ok(Some(wish)) => drop(sender.try_send(wish)),
                Ok(None) => {}
                // The terminal is gone, and with it whoever watched.
                Err(_) => {
                    let _ = sender.blocking_send(Wish::Quit);
                    return;
                }
            }
        }
    })?;
    Ok(wishes)
}

fn wish(event: &Event) -> Option<Wish> {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return None;
    };
    match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Quit),
        KeyCode::Esc => Some(Wish::Quit),
        KeyCode::Char(pressed) => {
            let key = KEYS.iter().find(|(key, ..)| key == pressed)?;
            Some(key.2.map_or(Wish::Quit, Wish::Act))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::script::{Act, Turn};

    #[test]
    fn keys_become_wishes() {
        let press = |code, modifiers| wish(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = KeyModifiers::NONE;
        assert_eq!(press(KeyCode::Char('q'), plain), Some(Wish::Quit));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Wish::Quit));
        assert_eq!(press(KeyCode::Char('k'), plain), Some(Wish::Act(Act::Kill)));
        assert_eq!(press(KeyCode::Char('o'), plain), Some(Wish::Act(Act::Odoo(Turn::Over))));
        assert_eq!(press(KeyCode::Char('x'), plain), None);
    }
}
