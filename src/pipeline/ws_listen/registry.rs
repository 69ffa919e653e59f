//! Who is connected to a server that is an end of a relay, and what waits for each of them.
//!
//! A message of the lane goes to everybody who is there. Leaves sessions to `client_session`. Invariants: a message is settled
//! once, when nobody has it before him any more: as delivered when somebody took it, back into the lane, in order, when
//! all who might have taken it have gone; what waits for one client is bounded.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::listen::hub::Hub;
use crate::listen::mailbox::Mailbox;
use crate::message::Message;
use crate::message::counted::counted;
use crate::message::event::Direction;
use crate::net::connection::CloseReason;
use crate::observe::control::SessionQueue;
use crate::observe::counters::DropReason;
use crate::protocol;
use crate::queue::end::EndIo;
use crate::queue::envelope::Envelope;
use crate::queue::lane::Lane;
use crate::queue::settlement::Settlement;
use crate::queue::wakers::Wakers;
use crate::queue::{OverflowPolicy, Pushed, Queue, Weigh};

/// Messages handed out before other tasks get their turn.
const PASS: usize = 256;

/// What waits for one client, and what happens when that is too much.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientQueueSettings {
    pub max_messages: usize,
    /// Payload bytes.
    pub max_bytes: usize,
    /// What happens then; `None` waits, and for a client that takes nothing for the time of `patience` drops its
    /// oldest, as long as there is another one.
    pub policy: Option<OverflowPolicy>,
    /// How long a client may hold up the others.
    pub patience: Duration,
}

/// What became of a message before one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeliveryOutcome {
    /// The client took it.
    Taken,
    /// The client left before.
    Gone,
    /// The client will never take it.
    Rejected(String),
    /// There was no room for it.
    Dropped,
    /// It does not concern the client.
    Filtered,
}

/// A message that was handed out, until all who got it are done with it.
#[derive(Debug)]
struct Copies {
    envelope: RefCell<Option<Envelope>>,
    open: Cell<usize>,
    taken: Cell<bool>,
    gone: Cell<bool>,
    dropped: Cell<bool>,
    rejected: RefCell<Option<String>>,
}

/// A message before one client.
#[derive(Debug)]
pub(super) struct Delivery {
    pub message: Message,
    copies: Rc<Copies>,
}

impl Weigh for Delivery {
    fn weight(&self) -> usize {
        self.message.len()
    }
}

/// One client that gets messages.
pub(super) struct Client {
    mailbox: Rc<Mailbox>,
    queue: RefCell<Queue<Delivery>>,
    waker: RefCell<Option<Waker>>,
    /// Since when it has held up the others.
    full_since: Cell<Option<Instant>>,
    registry: Rc<ClientRegistry>,
}

pub(super) struct ClientRegistry {
    pub io: EndIo,
    pub protocol: protocol::Settings,
    settings: ClientQueueSettings,
    clients: RefCell<Vec<Rc<Client>>>,
    changed: Wakers,
    gave_way: Cell<bool>,
    /// Handed out and not settled.
    open: Cell<usize>,
}

impl ClientRegistry {
    /// With nobody there.
    pub(super) fn new(io: EndIo, protocol: protocol::Settings, settings: ClientQueueSettings) -> Rc<Self> {
        Rc::new(Self {
            io,
            protocol,
            settings,
            clients: RefCell::default(),
            changed: Wakers::default(),
            gave_way: Cell::new(false),
            open: Cell::new(0),
        })
    }

    /// A client has come.
    pub(super) fn join(self: &Rc<Self>, mailbox: &Rc<Mailbox>) -> Rc<Client> {
        let settings = &self.settings;
        let policy = settings.policy.unwrap_or(OverflowPolicy::DropOldest);
        let client = Rc::new(Client {
            mailbox: Rc::clone(mailbox),
            queue: RefCell::new(Queue::new(settings.max_messages, settings.max_bytes, policy)),
            waker: RefCell::new(None),
            full_since: Cell::new(None),
            registry: Rc::clone(self),
        });
        if self.io.lane.is_some() {
            let told = Rc::downgrade(&client);
            mailbox
                .waits_elsewhere(move || told.upgrade().map_or_else(SessionQueue::default, |client| client.waiting()));
            self.clients.borrow_mut().push(Rc::clone(&client));
            self.changed.wake();
        }
        client
    }

    /// Hands out what the lane holds until that has ended and all of it is settled.
    pub(super) async fn serve(&self, lane: &Lane, hub: &Hub) {
        let mut timer = None;
        std::future::poll_fn(|cx| self.poll_serve(lane, hub, &mut timer, cx)).await;
    }

    fn poll_serve(
        &self,
        lane: &Lane,
        hub: &Hub,
        timer: &mut Option<Pin<Box<Sleep>>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        for _ in 0..PASS {
            self.changed.register(cx);
            if lane.has_ended() && lane.is_empty() {
                if self.open.get() == 0 && lane.poll_next(cx).is_ready() {
                    return Poll::Ready(());
                }
                return Poll::Pending;
            }
            if !self.may_hand_out(lane, timer, cx) {
                // Whether the lane ends meanwhile is worth a look.
                let _ = lane.poll_done(cx);
                return Poll::Pending;
            }
            match lane.poll_next(cx) {
                Poll::Ready(Some(envelope)) => self.hand_out(envelope, hub),
                // A spool that failed gives no more, whatever it holds.
                Poll::Ready(None) if self.open.get() == 0 => return Poll::Ready(()),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Those who are not about to leave.
    fn present(&self) -> Vec<Rc<Client>> {
        self.clients.borrow().iter().filter(|client| !client.mailbox.is_closing()).cloned().collect()
    }

    /// Whether the next message may be handed out.
    fn may_hand_out(&self, lane: &Lane, timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> bool {
        let clients = self.present();
        let Some(size) = lane.next_size() else { return !clients.is_empty() };
        let waits = match self.settings.policy {
            Some(OverflowPolicy::Block) => clients.iter().any(|client| !client.fits(size)),
            Some(_) => {
                // Who is full gets a turn to send before anything is dropped for it.
                let gives_way = !self.gave_way.get() && clients.iter().any(|client| !client.fits(size));
                self.gave_way.set(gives_way);
                if gives_way {
                    cx.waker().wake_by_ref();
                }
                gives_way
            }
            None => {
                let now = Instant::now();
                let mut due: Option<Instant> = None;
                let (mut fitting, mut holding) = (0, 0);
                for client in &clients {
                    if client.fits(size) {
                        client.full_since.set(None);
                        fitting += 1;
                        continue;
                    }
                    let since = client.full_since.get().unwrap_or(now);
                    client.full_since.set(Some(since));
                    let until = since + self.settings.patience;
                    if until > now {
                        holding += 1;
                        due = Some(due.map_or(until, |due| due.min(until)));
                    }
                }
                if let (true, Some(due)) = (clients.len() > 1, due) {
                    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
                    if timer.deadline() != due {
                        timer.as_mut().reset(due);
                    }
                    if timer.as_mut().poll(cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                }
                holding > 0 || fitting == 0
            }
        };
        !clients.is_empty() && !waits
    }

    /// Puts a message before everybody.
    fn hand_out(&self, envelope: Envelope, hub: &Hub) {
        if envelope.attempts == 0 {
            self.protocol.on_published(&envelope.message);
        }
        let message = envelope.message.clone();
        let copies = Rc::new(Copies {
            envelope: RefCell::new(Some(envelope)),
            open: Cell::new(1),
            taken: Cell::new(false),
            gone: Cell::new(false),
            dropped: Cell::new(false),
            rejected: RefCell::default(),
        });
        self.open.set(self.open.get() + 1);
        let clients = self.present();
        if hub.settings.verbose && self.protocol.is_gateway() {
            let (size, count) = (counted(message.len(), "byte"), counted(clients.len(), "client"));
            hub.notice(format!("broadcast {size} to {count}"));
        }
        let mut lost = Vec::new();
        for client in &clients {
            copies.open.set(copies.open.get() + 1);
            let delivery = Delivery { message: message.clone(), copies: Rc::clone(&copies) };
            let before = lost.len();
            let pushed = client.queue.borrow_mut().push_with(delivery, |delivery| lost.push(delivery));
            match pushed {
                // There is room, or it would not have been handed out; what is too large alone passes alone.
                Pushed::Full(delivery) => client.queue.borrow_mut().put(delivery),
                Pushed::Disconnect => {
                    client.mailbox.ask_to_close(CloseReason::new(1008, "too slow: the send queue is full"));
                }
                Pushed::Accepted { .. } | Pushed::Dropped => {}
            }
            for delivery in &lost[before..] {
                let id = hub.id_of(client.mailbox.id);
                if let Some(envelope) = &*delivery.copies.envelope.borrow() {
                    let size = delivery.message.len();
                    envelope.receipt.tell_drop(&id, Direction::Out, DropReason::QueueFull, size);
                }
            }
            let dropped = (lost.len() - before) as u64;
            if dropped > 0 {
                hub.queue_full(&client.mailbox);
                client.mailbox.dropped.set(client.mailbox.dropped.get() + dropped);
                hub.counters.dropped.add(DropReason::QueueFull, dropped);
            }
            client.wake();
        }
        for delivery in lost {
            self.settle(delivery, DeliveryOutcome::Dropped);
        }
        // The share that kept it open until all had it says nothing.
        self.settle(Delivery { message, copies }, DeliveryOutcome::Filtered);
    }

    /// A client is done with a message.
    pub(super) fn settle(&self, delivery: Delivery, outcome: DeliveryOutcome) {
        if let (Some(envelope), Some(lane)) = (self.close(delivery, outcome), &self.io.lane) {
            lane.requeue(std::iter::once(envelope));
            self.changed.wake();
        }
    }

    /// A client has gone, and with it what was before it, oldest first.
    pub(super) fn leave(&self, client: &Rc<Client>, deliveries: impl Iterator<Item = Delivery>) {
        self.clients.borrow_mut().retain(|other| !Rc::ptr_eq(other, client));
        let mut back = Vec::new();
        for delivery in deliveries {
            back.extend(self.close(delivery, DeliveryOutcome::Gone));
        }
        while let Some(delivery) = { client.queue.borrow_mut().pop() } {
            back.extend(self.close(delivery, DeliveryOutcome::Gone));
        }
        if let Some(lane) = &self.io.lane {
            lane.requeue(back.into_iter());
        }
        self.changed.wake();
    }

    /// Closes one copy; the message itself when it was the last and nobody has settled it.
    fn close(&self, delivery: Delivery, outcome: DeliveryOutcome) -> Option<Envelope> {
        let copies = delivery.copies;
        match outcome {
            DeliveryOutcome::Taken => copies.taken.set(true),
            DeliveryOutcome::Gone => copies.gone.set(true),
            DeliveryOutcome::Dropped => copies.dropped.set(true),
            DeliveryOutcome::Rejected(reason) => {
                copies.rejected.borrow_mut().get_or_insert(reason);
            }
            DeliveryOutcome::Filtered => {}
        }
        copies.open.set(copies.open.get() - 1);
        if copies.open.get() > 0 {
            return None;
        }
        let envelope = copies.envelope.take()?;
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.changed.wake();
        }
        let lane = self.io.lane.as_ref()?;
        if copies.taken.get() {
            lane.took(envelope);
        } else if copies.gone.get() {
            return Some(envelope);
        } else if let Some(reason) = copies.rejected.take() {
            self.io.dead_letters.dead_letter(envelope, DropReason::Rejected, &lane.name, &reason);
        } else if copies.dropped.get() {
            // Told already, for each client.
            envelope.receipt.settle(Settlement::Dropped(DropReason::QueueFull));
        } else {
            envelope.settle(Settlement::Filtered);
        }
        None
    }
}

impl Client {
    fn waiting(&self) -> SessionQueue {
        let queue = self.queue.borrow();
        SessionQueue { depth: queue.len(), bytes: queue.bytes(), capacity: queue.capacity() }
    }

    fn fits(&self, size: usize) -> bool {
        self.queue.borrow().fits(size)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next message for this client; the waker is called when there is one.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Delivery> {
        let next = self.queue.borrow_mut().pop();
        if let Some(delivery) = next {
            self.full_since.set(None);
            self.registry.changed.wake();
            return Poll::Ready(delivery);
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }
}
