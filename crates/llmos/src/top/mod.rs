//! `llmos top`: models and sequences live, with htop's keys.
//!
//! [`App`] is what is on the screen and decides what a key does; `history` makes rates and latencies of samples;
//! `view` draws. Only this file waits: for keys, for the server, for signals.

mod app;
mod figures;
#[cfg(test)]
mod fixture;
mod help;
mod history;
mod meters;
mod quantiles;
mod report;
mod rows;
mod sample;
mod screen;
mod table;
#[cfg(test)]
mod tests;
mod theme;
mod view;
mod words;

use std::{sync::Arc, time::Duration};

use serde::de::IgnoredAny;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    client::Client,
    exit::{Exit, Failure, Trying},
    output::{self, Output},
};
use app::{Action, App, DELAY_S_MAX, DELAY_S_MIN, Reaction};
use gateway::admin_types::Version;
use sample::Sample;
use screen::{Input, Screen};
use theme::Theme;

/// Actions that may be under way at once.
const ACTIONS_MAX: usize = 8;
/// Figures older than this many delays, and a second, are marked as old.
const STALE_DELAYS: f64 = 3.0;
/// How often the age of old figures is drawn anew.
const REDRAW: Duration = Duration::from_secs(1);

/// Seconds from look to look, from the command line.
pub(crate) fn delay(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (DELAY_S_MIN..=DELAY_S_MAX).contains(&seconds) => Ok(seconds),
        _ => Err(format!("must be {DELAY_S_MIN} to {DELAY_S_MAX} seconds")),
    }
}

pub(crate) async fn run(client: Client, delay_s: f64, output: Output) -> Result<(), Failure> {
    let client = Arc::new(client);
    let begun = Instant::now();
    let mut app = App::new(delay_s);
    // Without a server this ends like every other command.
    app.take(look(&client, begun).await?);
    if output.json {
        sleep(Duration::from_secs_f64(delay_s)).await;
        app.take(look(&client, begun).await?);
        return output::document(&report::report(&app.history));
    }
    let Some(theme) = output.screen().map(|colour| Theme { colour }) else {
        return Err(Failure::new(Exit::Usage, "`llmos top` needs a terminal that can place text")
            .advise("`llmos ps` prints what runs, once")
            .advise("`llmos top --json` prints the same figures as one document"));
    };
    app.server = client.version().await.ok();
    let screen = Screen::open()?;
    Top { client, begun, app, screen, theme, tasks: JoinSet::new(), looking: false }.watch().await
}

async fn look(client: &Client, begun: Instant) -> Result<Sample, Failure> {
    sample::take(client, || begun.elapsed().as_secs_f64()).await
}

/// Everything that waits, or is waited for.
struct Top {
    client: Arc<Client>,
    begun: Instant,
    app: App,
    screen: Screen,
    theme: Theme,
    tasks: JoinSet<News>,
    /// Whether one of the tasks is a look at the server.
    looking: bool,
}

/// What the server has answered.
enum News {
    Look(Result<(Sample, Option<Version>), Failure>),
    Acted(Action, Result<(), Failure>),
}

impl Top {
    async fn watch(mut self) -> Result<(), Failure> {
        let mut ends = ends()?;
        let mut last_look = Instant::now();
        loop {
            let stale_s = self.stale_s();
            let (app, theme) = (&mut self.app, self.theme);
            self.screen.draw(|frame| view::draw(frame, app, stale_s, theme))?;
            let next_look = last_look + Duration::from_secs_f64(self.app.delay_s);
            tokio::select! {
                input = self.screen.input() => match input {
                    Input::Key(key) => match self.app.press(key) {
                        Reaction::Draw => {}
                        Reaction::Redraw => self.screen.clear()?,
                        Reaction::Act(action) => self.act(action),
                        Reaction::Quit => return Ok(()),
                    },
                    // Drawing asks for the size.
                    Input::Resized => {}
                    Input::Gone => return Ok(()),
                },
                () = sleep_until(next_look), if !self.looking && !self.app.paused => {
                    last_look = Instant::now();
                    self.look();
                }
                Some(done) = self.tasks.join_next() => self.take(done.trying("ask the server")?),
                () = sleep(REDRAW) => {}
                () = any(&mut ends) => return Ok(()),
            }
        }
    }

    /// How old the figures are, if they should be newer.
    fn stale_s(&self) -> Option<f64> {
        let age = self.begun.elapsed().as_secs_f64() - self.app.history.newest()?.at_s;
        let late = age > self.app.delay_s * STALE_DELAYS + 1.0;
        (self.app.lost.is_some() || (late && !self.app.paused)).then_some(age)
    }

    fn look(&mut self) {
        let (client, begun) = (self.client.clone(), self.begun);
        // After a server went away it may be another one that comes back.
        let ask_version = self.app.lost.is_some() || self.app.server.is_none();
        self.looking = true;
        self.tasks.spawn(async move {
            let look = async {
                // It is told to those on the same machine.
                let version =
                    if ask_version && client.is_here() { Some(client.version().await?) } else { None };
                Ok((look(&client, begun).await?, version))
            };
            News::Look(look.await)
        });
    }

    fn act(&mut self, action: Action) {
        if self.tasks.len() > ACTIONS_MAX {
            self.app.acted(&action, Some("too much is under way already; wait for it"));
            return;
        }
        self.app.acting(&action);
        let client = self.client.clone();
        self.tasks.spawn(async move {
            let done = carry_out(&client, &action).await;
            News::Acted(action, done)
        });
    }

    fn take(&mut self, news: News) {
        match news {
            News::Look(Ok((sample, version))) => {
                self.looking = false;
                self.app.server = version.or(self.app.server.take());
                self.app.take(sample);
            }
            News::Look(Err(failure)) => {
                self.looking = false;
                self.app.lost = Some(failure.what);
            }
            News::Acted(action, done) => {
                self.app.acted(&action, done.err().map(|failure| failure.what).as_deref());
            }
        }
    }
}

async fn carry_out(client: &Client, action: &Action) -> Result<(), Failure> {
    let IgnoredAny = match action {
        Action::Kill(id) => client.delete(&format!("/api/v1/sequences/{id}")).await?,
        Action::Unload(model) => client.delete(&loaded(model)?).await?,
        Action::Load(model) => client.put(&loaded(model)?).await?,
    };
    Ok(())
}

/// What is no name of a model never gets into a path.
fn loaded(model: &str) -> Result<String, Failure> {
    let name = model.parse::<types::ModelName>();
    name.map(|name| format!("/api/v1/loaded/{name}"))
        .map_err(|_| Failure::new(Exit::NotFound, format!("there is no model `{model}`")))
}

/// The signals that end a program, after which the terminal must be as it was.
fn ends() -> Result<[Signal; 3], Failure> {
    let listen = |kind| signal(kind).trying("listen for signals");
    Ok([listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?])
}

async fn any([a, b, c]: &mut [Signal; 3]) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
        _ = c.recv() => {}
    }
}
