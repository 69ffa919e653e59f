//! The pipelines of a file, in one process: started, read again at SIGHUP, each with its own account.
//!
//! Leaves what a file means to `plan`. Invariants: what has not changed is not touched; nothing new starts before what it
//! takes the place of has ended, so both may use the same spool, port or stream; a file with faults changes nothing.

use std::future::poll_fn;
use std::path::Path;
use std::rc::Rc;
use std::task::Poll;

use super::args::RelayArgs;
use super::build::{Build, Surroundings};
use super::dashboard::screen;
use super::plan::{self, Planned};
use super::run::{Scene, give_account};
use crate::error::Error;
use crate::exit::Exit;
use crate::host::{Hangups, Signals};
use crate::message::counted::counted;
use crate::pipeline::group::{Group, Happened};
use crate::pipeline::run::{Ended, Relay};
use crate::pipeline::watch::Seen;

/// Runs the pipelines of the file.
pub(super) async fn run(path: &Path, args: &RelayArgs, around: &Surroundings, signals: Signals) -> Result<Exit, Error> {
    let planned = plan::read(path, args, around)?;
    if args.check {
        if !args.output.quiet {
            around.host.stderr.line(format!(
                "{}: {}, nothing wrong",
                path.display(),
                counted(planned.len(), "pipeline")
            ));
        }
        return Ok(Exit::Done);
    }
    name_pipelines(&planned, around);
    let relays = planned.iter().map(|planned| build(planned, around)).collect::<Result<Vec<_>, _>>()?;
    let planned_args = planned.iter().map(|planned| &planned.args);
    let screen = args.tui.then(|| screen(&path.display().to_string(), planned_args, args, &around.host)).transpose()?;
    let mut scene = Scene::open(args, around).await?;
    scene.show(screen)?;
    let mut hangups = Hangups::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
    let group = Group::new(Rc::clone(&around.watch), signals);
    let mut many = Many { path, args, around, group, members: Vec::new(), next: None, exits: Vec::new() };
    for (planned, relay) in planned.into_iter().zip(relays) {
        many.start(planned, relay);
    }
    let last = many.run(&mut scene, &mut hangups).await;
    scene.close(many.group, last, many.exits).await
}

fn name_pipelines(planned: &[Planned], around: &Surroundings) {
    if planned.len() > 1 {
        around.watch.name_pipelines();
    }
}

fn build(planned: &Planned, around: &Surroundings) -> Result<Relay, Error> {
    Build::new(&planned.args, around, Some(planned.name.clone()))?.relay()
}

/// A pipeline that was started.
struct Member {
    planned: Planned,
    key: u64,
    has_failed: bool,
}

/// What starts once those that make room for it have ended.
struct Next {
    planned: Vec<Planned>,
    waits_for: Vec<u64>,
}

struct Many<'a> {
    path: &'a Path,
    args: &'a RelayArgs,
    around: &'a Surroundings,
    group: Group,
    members: Vec<Member>,
    next: Option<Next>,
    exits: Vec<Exit>,
}

enum Event {
    Hangup,
    Happened(Happened),
}

impl Many<'_> {
    fn start(&mut self, planned: Planned, relay: Relay) {
        let key = self.group.start(relay);
        self.members.push(Member { planned, key, has_failed: false });
    }

    /// Runs until all have ended; the last accounts are left to be given.
    async fn run(&mut self, scene: &mut Scene<'_>, hangups: &mut Hangups) -> Vec<(Rc<Seen>, Ended)> {
        let mut reload = false;
        let mut last = Vec::new();
        loop {
            let event = poll_fn(|cx| match hangups.poll_next(cx) {
                Poll::Ready(()) => Poll::Ready(Event::Hangup),
                Poll::Pending => scene.poll_next(&mut self.group, cx).map(Event::Happened),
            });
            match event.await {
                Event::Hangup => reload = true,
                Event::Happened(Happened::Ended { key, seen, ended }) => {
                    if let Some(member) = self.members.iter_mut().find(|member| member.key == key) {
                        member.has_failed = ended.exit != Exit::Done;
                    }
                    if self.group.is_empty() && self.next.is_none() && !reload {
                        last.push((seen, ended));
                    } else {
                        let quiet = self.args.output.quiet;
                        give_account(&self.around.host.stderr, &self.around.watch, &seen, &ended, quiet);
                        self.exits.push(ended.exit);
                    }
                }
                Event::Happened(Happened::AllEnded) if self.next.is_none() => return last,
                Event::Happened(Happened::AllEnded) => {}
            }
            self.go_on();
            if self.next.is_none() && std::mem::take(&mut reload) && !self.group.is_stopping() {
                self.read_again();
                self.go_on();
            }
        }
    }

    /// Reads the file again and sees what has to end.
    fn read_again(&mut self) {
        let shown = self.path.display();
        let planned = match plan::read(self.path, self.args, self.around) {
            Ok(planned) => planned,
            Err(error) => {
                for error in error.each() {
                    self.tell_error(error);
                }
                self.around.host.stderr.line(format!("wsp: {shown} has errors: all pipelines keep running unchanged"));
                return;
            }
        };
        name_pipelines(&planned, self.around);
        let mut old = std::mem::take(&mut self.members);
        let (mut fresh, mut changed) = (Vec::new(), 0);
        for planned in planned {
            let is_same = |member: &Member| {
                member.planned.print == planned.print
                    && member.planned.is_named == planned.is_named
                    && (!planned.is_named || member.planned.name == planned.name)
            };
            match old.iter().position(is_same) {
                Some(place) if self.group.runs(old[place].key) || !old[place].has_failed => {
                    self.members.push(old.remove(place));
                }
                _ => {
                    let has_name = |member: &Member| planned.is_named && member.planned.name == planned.name;
                    changed += usize::from(old.iter().any(has_name));
                    fresh.push(planned);
                }
            }
        }
        let ending: Vec<u64> = old.iter().map(|member| member.key).filter(|key| self.group.runs(*key)).collect();
        for key in &ending {
            self.group.drain(*key);
        }
        let (kept, new, gone) = (self.members.len(), fresh.len() - changed, old.len() - changed.min(old.len()));
        self.tell(&format!("{shown} read again: {kept} unchanged, {changed} changed, {new} new, {gone} gone"));
        self.next = Some(Next { planned: fresh, waits_for: ending });
    }

    /// Starts what is next, once it may.
    fn go_on(&mut self) {
        let Some(next) = &self.next else { return };
        if self.group.is_stopping() {
            self.next = None;
            return;
        }
        if next.waits_for.iter().any(|key| self.group.runs(*key)) {
            return;
        }
        for planned in self.next.take().into_iter().flat_map(|next| next.planned) {
            match build(&planned, self.around) {
                Ok(relay) => self.start(planned, relay),
                Err(error) => {
                    self.tell_error(&error);
                    self.exits.push(error.exit());
                    // It is tried again when the file is read again.
                    self.members.push(Member { planned, key: 0, has_failed: true });
                }
            }
        }
    }

    fn tell(&self, text: &str) {
        if !self.args.output.quiet {
            self.around.host.stderr.line(format!("wsp: {text}"));
        }
    }

    fn tell_error(&self, error: &Error) {
        self.around.host.stderr.line(format!("wsp: {error}"));
        if let Some(hint) = error.hint() {
            self.around.host.stderr.line(format!("hint: {hint}"));
        }
    }
}
