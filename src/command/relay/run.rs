//! The run of a relay, from what is built to its account: the admin address, the recording, pipelines, the last lines.
//!
//! Leaves pipelines to `pipeline/`. Invariants: everything is built and bound before anything runs; an account is given
//! after its pipeline has ended, the last one last of all.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::args::RelayArgs;
use super::build::{Build, Surroundings};
use super::dashboard::{screen, title};
use super::files::check_source;
use crate::command::dashboard::{Screen, Shown};
use crate::error::Error;
use crate::exit::Exit;
use crate::host::{Signals, Stderr};
use crate::message::counted::counted;
use crate::message::io_text::io_text;
use crate::observe::Control;
use crate::observe::admin::{Admin, Serving};
use crate::pipeline::group::{Group, Happened, worst};
use crate::pipeline::run::Ended;
use crate::pipeline::watch::{Seen, Watch};
use crate::queue::end::EndError;
use crate::queue::ledger::Ledger;
use crate::sink::record::Recorder;

/// A recording has at least this long to be closed.
const LAST_WAIT: Duration = Duration::from_millis(100);

/// Runs the pipeline that the flags describe.
pub(super) async fn run(args: &RelayArgs, around: &Surroundings, signals: Signals) -> Result<Exit, Error> {
    let mut build = Build::new(args, around, None)?;
    check_source(args, args.record.as_deref())?;
    if args.check {
        return build.try_out().map(|()| Exit::Done);
    }
    let screen = args.tui.then(|| screen(&title(args), [args], args, &around.host)).transpose()?;
    let relay = build.relay()?;
    let mut scene = Scene::open(args, around).await?;
    scene.show(screen)?;
    let mut group = Group::new(Rc::clone(&around.watch), signals);
    group.start(relay);
    let mut ended = Vec::new();
    while let Happened::Ended { seen, ended: how, .. } = scene.next(&mut group).await {
        ended.push((seen, how));
    }
    scene.close(group, ended, Vec::new()).await
}

/// What stands around the pipelines.
pub(super) struct Scene<'a> {
    args: &'a RelayArgs,
    stderr: Stderr,
    watch: Rc<Watch>,
    admin: Option<Serving>,
    shown: Option<Shown>,
    told_of_grace: bool,
    begun: Instant,
}

impl<'a> Scene<'a> {
    /// Opens the recording and the admin address.
    pub(super) async fn open(args: &'a RelayArgs, around: &Surroundings) -> Result<Self, Error> {
        let (stderr, watch) = (around.host.stderr.clone(), Rc::clone(&around.watch));
        if let Some(path) = &args.record {
            watch.recording().begin(Recorder::create(path)?);
        }
        // Where standard output is closed nobody reads them.
        if args.output.json
            && !args.tui
            && let Ok(output) = around.output()
        {
            watch.drops().begin(output);
        }
        let settings = args.admin.settings(args.connection.max_message_size, args.require_clients)?;
        let admin = match settings {
            None => None,
            Some(settings) => {
                let address = settings.address.to_string();
                let admin =
                    Admin::bind(settings).await.map_err(|error| Error::Bind { address, cause: io_text(&error) })?;
                if !args.output.quiet {
                    stderr.line(format!("admin on {}", admin.url()));
                    if admin.is_open() {
                        stderr.line(format!("wsp: {}", crate::observe::admin::OPEN));
                    }
                }
                Some(admin.serve(Rc::clone(&watch) as Rc<dyn Control>))
            }
        };
        Ok(Self { args, stderr, watch, admin, shown: None, told_of_grace: false, begun: Instant::now() })
    }

    /// Opens the dashboard, where there is to be one.
    pub(super) fn show(&mut self, screen: Option<Screen>) -> Result<(), Error> {
        let run = || Rc::clone(&self.watch) as Rc<dyn Control>;
        self.shown = screen.map(|screen| screen.show(run())).transpose()?;
        Ok(())
    }

    /// What happens next.
    pub(super) async fn next(&mut self, group: &mut Group) -> Happened {
        std::future::poll_fn(|cx| self.poll_next(group, cx)).await
    }

    /// Ready with what happens next. A person who leaves the dashboard ends the run, and sees how it drains.
    pub(super) fn poll_next(&mut self, group: &mut Group, cx: &mut Context<'_>) -> Poll<Happened> {
        if self.shown.as_mut().is_some_and(|shown| shown.poll_ended(cx).is_ready()) {
            self.hide();
            group.drain_all();
        }
        let happened = group.poll_next(cx);
        if group.is_stopping() && !self.told_of_grace && !self.args.output.quiet {
            self.told_of_grace = true;
            let waiting = group.waiting();
            if waiting > 0 {
                self.stderr.line(format!(
                    "wsp: {} not delivered yet: waiting up to {:?} (--grace); press Ctrl-C again to stop now",
                    counted(waiting, "message"),
                    self.args.queue.grace
                ));
            }
        }
        happened
    }

    fn hide(&mut self) {
        if let Some(shown) = self.shown.take() {
            shown.close();
        }
    }

    /// Closes them, gives the accounts of `last`, and says how all of it ended.
    pub(super) async fn close(
        mut self,
        mut group: Group,
        last: Vec<(Rc<Seen>, Ended)>,
        mut exits: Vec<Exit>,
    ) -> Result<Exit, Error> {
        self.hide();
        // The recording has what is left of the time.
        let left = self.args.connection.timeout.map(|limit| limit.saturating_sub(self.begun.elapsed()).max(LAST_WAIT));
        let recorded = group.finish_recording(left.unwrap_or(self.args.queue.grace).min(self.args.queue.grace)).await;
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
        if let Err(failure) = recorded {
            let error = Error::from(failure);
            tell(&self.stderr, "", &EndError { exit: error.exit(), text: error.to_string(), hint: error.hint() });
            exits.push(error.exit());
        }
        for (seen, ended) in last {
            give_account(&self.stderr, &self.watch, &seen, &ended, self.args.output.quiet);
            exits.push(ended.exit);
        }
        Ok(worst(exits))
    }
}

/// Says what went wrong in a pipeline, and what became of its messages; the latter only if something is wrong where
/// only errors are requested.
pub(super) fn give_account(stderr: &Stderr, watch: &Watch, seen: &Seen, ended: &Ended, errors_only: bool) {
    let name = seen.name.as_ref().filter(|_| watch.names_pipelines());
    let prefix = name.map(|name| format!("{name}: ")).unwrap_or_default();
    for error in &ended.errors {
        tell(stderr, &prefix, error);
    }
    let is_whole = |ledger: &Ledger| !ledger.is_anything_undelivered() && ledger.dropped.total() == 0;
    let is_well = ended.exit == Exit::Done && seen.flows.iter().all(|flow| is_whole(&flow.ledger));
    if errors_only && is_well {
        return;
    }
    for flow in &seen.flows {
        stderr.line(format!("{prefix}{}", flow.ledger));
    }
}

fn tell(stderr: &Stderr, prefix: &str, error: &EndError) {
    stderr.line(format!("wsp: {prefix}{error}"));
    if let Some(hint) = &error.hint {
        stderr.line(format!("hint: {hint}"));
    }
}
