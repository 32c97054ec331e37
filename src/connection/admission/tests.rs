use std::time::Duration;

use super::settle::Settlement;
use super::*;
use crate::frame::Frame;
use model::{Kind, LOADING, LinkModel, SIZE, Server, limits};

mod contract;
mod model;

#[test]
fn half_a_command_is_sent_again_and_a_whole_one_is_not() {
    let mut model = LinkModel::new();
    model.up = true;
    let whole = model.submit(Frame::new("INCR").key("k"));
    let half = model.submit(Frame::new("INCR").key("k"));
    let read = model.submit(Frame::new("GET").key("k").read_only());
    model.write(SIZE + SIZE / 2);
    let settlement = model.lose();
    assert_eq!(settlement, Settlement { replayed: 2, failed: 0, unknown: 1 });
    assert_eq!(model.fates(whole), [Some(Fate::Unknown)]);
    assert!(model.fates(half).is_empty() && model.fates(read).is_empty());
    model.up = true;
    model.release();
    assert_eq!(model.sent_order, [whole, half, read, half, read]);
}

#[test]
fn a_pipeline_of_which_any_byte_left_may_have_run() {
    let mut model = LinkModel::new();
    model.up = true;
    let unit = model.submit(Frame::join([Frame::new("INCR").key("a"), Frame::new("INCR").key("b")]));
    model.write(1);
    assert_eq!(model.lose(), Settlement { replayed: 0, failed: 0, unknown: 1 });
    assert_eq!(model.fates(unit), [Some(Fate::Unknown)]);
}

#[test]
fn a_transaction_of_which_a_byte_is_missing_cannot_have_run() {
    let mut model = LinkModel::new();
    model.up = true;
    let unit = model.submit(Frame::atomic([Frame::known("INCR").key("a"), Frame::known("INCR").key("b")]));
    model.write(SIZE - 1);
    assert_eq!(model.lose(), Settlement { replayed: 1, failed: 0, unknown: 0 });
    model.up = true;
    model.release();
    model.write(SIZE);
    assert_eq!(model.lose(), Settlement { replayed: 0, failed: 0, unknown: 1 });
    assert_eq!(model.fates(unit), [Some(Fate::Unknown)]);
}

#[test]
fn a_transaction_that_was_not_run_now_waits_and_is_sent_again() {
    let answers = |second: &str| {
        let lines = ["+OK", "+QUEUED", second, "-EXECABORT Transaction discarded"];
        lines.map(|line| redis::parse_redis_value(format!("{line}\r\n").as_bytes()).expect("a reply"))
    };
    let unit = || Frame::atomic([Frame::known("INCR").key("a"), Frame::known("INCR").key("b")]);
    for (frame, second, waits) in [
        (unit(), "-LOADING Redis is loading the dataset in memory", true),
        (unit(), "-NOPERM no", false),
        (unit().pinned(), "-LOADING Redis is loading the dataset in memory", false),
    ] {
        let mut model = LinkModel::new();
        model.up = true;
        model.submit(frame);
        let mut answered = None;
        for answer in answers(second) {
            answered = model.admission.replied(answer, model.now).expect("asked");
        }
        assert_eq!((answered.is_none(), model.admission.queued()), (waits, usize::from(waits)), "{second}");
    }
}

#[test]
fn a_pinned_command_is_never_sent_on_another_link() {
    let mut model = LinkModel::new();
    model.up = true;
    let half = model.submit(Frame::known("INCR").key("k").pinned());
    let read = model.submit(Frame::known("GET").key("k").read_only().pinned());
    model.write(SIZE / 2);
    assert_eq!(model.lose(), Settlement { replayed: 0, failed: 2, unknown: 0 });
    assert_eq!((model.fates(half), model.fates(read)), (vec![Some(Fate::NotSent)], vec![Some(Fate::NotSent)]));
}

#[test]
fn a_unit_is_answered_when_its_last_reply_came() {
    let mut model = LinkModel::new();
    model.up = true;
    let unit = model.submit(Frame::join([Frame::new("INCR").key("a"), Frame::new("INCR").key("b")]));
    assert!(model.admission.replied(Value::Int(1), model.now).expect("asked").is_none());
    let (probe, value, _) = model.admission.replied(Value::Int(2), model.now).expect("asked").expect("whole");
    assert_eq!((probe.id, value), (unit, Value::Array(vec![Value::Int(1), Value::Int(2)])));
    assert!(model.admission.replied(Value::Okay, model.now).is_err(), "an answer to nothing");
}

#[test]
fn a_command_lives_through_a_bounded_number_of_links() {
    let mut model = LinkModel::new();
    let read = model.submit(Frame::new("GET").key("k").read_only());
    for _ in 0..limits().lost_links {
        model.up = true;
        model.release();
        model.write(SIZE);
        assert_eq!(model.lose().replayed, 1);
    }
    model.up = true;
    model.release();
    model.lose();
    assert_eq!(model.fates(read), [Some(Fate::Unknown)]);
}

#[test]
fn the_queue_is_bounded_by_count_and_bytes_but_one_large_command_passes() {
    let mut model = LinkModel::new();
    let large = model.submit(Frame::new("SET").key("k").arg(vec![b'x'; 100_000]));
    assert!(model.fates(large).is_empty());
    let refused = model.submit(Frame::new("SET").key("k").arg("v"));
    assert_eq!(model.fates(refused), [Some(Fate::NotSent)]);
    let outcomes = model.outcomes.borrow();
    let error = outcomes[&refused][0].as_ref().expect_err("full");
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Overloaded, Some(Phase::Connecting)));
}

#[test]
fn what_the_server_puts_off_is_sent_again_in_order_after_a_pause() {
    let mut model = LinkModel::new();
    model.up = true;
    model.server = LOADING;
    let first = model.submit(Frame::new("INCR").key("k"));
    let second = model.submit(Frame::new("INCR").key("k"));
    model.write(2 * SIZE);
    model.reply();
    let third = model.submit(Frame::new("INCR").key("k"));
    model.reply();
    assert_eq!(
        (model.admission.queued(), model.sent_order.len()),
        (3, 2),
        "nothing goes to a server that is not ready"
    );
    let again = model.admission.next_deadline().expect("it is asked again");
    assert!(again > model.now && again < model.now + Duration::from_secs(1));
    model.now = again;
    model.release();
    assert_eq!(model.sent_order, [first, second, first], "one of them asks for all");
    model.server = Server::Ready;
    model.write(SIZE);
    model.reply();
    assert_eq!(model.sent_order, [first, second, first, second, third]);
}

#[test]
fn a_deferred_command_is_not_run_after_a_later_one() {
    let mut model = LinkModel::new();
    model.up = true;
    model.server = LOADING;
    let first = model.submit(Frame::new("INCR").key("k"));
    model.write(SIZE);
    model.server = Server::Ready;
    let second = model.submit(Frame::new("INCR").key("k"));
    model.write(SIZE);
    model.reply();
    model.reply();
    assert_eq!((model.fates(first), model.fates(second)), (vec![Some(Fate::Rejected)], vec![None]));
}

/// Ablation: with the refused command put back into the queue at once, it is sent behind the one that ran: `[first, second, first]`.
#[test]
fn what_the_server_refused_is_not_taken_while_a_later_one_may_run() {
    let mut model = LinkModel::new();
    model.up = true;
    model.server = LOADING;
    let first = model.submit(Frame::new("INCR").key("k"));
    model.write(SIZE);
    model.server = Server::Ready;
    let second = model.submit(Frame::new("INCR").key("k"));
    model.write(SIZE);
    model.reply();
    model.take_queued(false);
    model.reply();
    model.now += Duration::from_secs(1);
    model.release();
    assert_eq!(model.sent_order, [first, second]);
    assert_eq!((model.fates(first), model.fates(second)), (vec![Some(Fate::Rejected)], vec![None]));
}

/// Ablation: with the replies of the expired pipeline kept, the next one gets three.
#[test]
fn replies_of_an_expired_pipeline_reach_no_other() {
    for replies in [
        ["+x", "-LOADING Redis is loading the dataset in memory"],
        ["-LOADING Redis is loading the dataset in memory"; 2],
    ] {
        for at in 0..2 {
            let mut model = LinkModel::new();
            model.up = true;
            model.submit(Kind::Pipeline.frame().timeout(Duration::from_secs(1)));
            let second = model.submit(Kind::Pipeline.frame());
            for (nth, reply) in replies.into_iter().enumerate() {
                if nth == at {
                    model.now += Duration::from_secs(1);
                    model.expire();
                }
                let reply = redis::parse_redis_value(format!("{reply}\r\n").as_bytes()).expect("a reply");
                assert!(model.admission.replied(reply, model.now).expect("asked").is_none());
            }
            assert!(model.admission.replied(Value::Int(1), model.now).expect("asked").is_none());
            let (probe, value, _) = model.admission.replied(Value::Int(2), model.now).expect("asked").expect("whole");
            assert_eq!((probe.id, value), (second, Value::Array(vec![Value::Int(1), Value::Int(2)])));
        }
    }
}

/// Ablation: without the replies of an expired pipeline the first command waits, to run behind a part of it that ran.
#[test]
fn a_part_of_an_expired_pipeline_that_ran_counts_for_the_order() {
    let mut model = LinkModel::new();
    model.up = true;
    model.server = LOADING;
    let first = model.submit(Frame::new("INCR").key("k"));
    model.submit(Kind::Pipeline.frame().timeout(Duration::from_secs(1)));
    model.write(SIZE);
    model.server = Server::Ready;
    model.write(SIZE / 2);
    model.server = LOADING;
    model.write(SIZE / 2);
    model.now += Duration::from_secs(1);
    model.expire();
    (0..3).for_each(|_| model.reply());
    assert_eq!((model.fates(first), model.admission.queued()), (vec![Some(Fate::Rejected)], 0));
}

const FORGED: &str = "CLUSTERDOWN Hash slot not served";

/// Ablation: a script whose refusal counts as proof fails: no PING is on the link.
#[test]
fn a_script_that_answers_like_the_server_runs_once() {
    let mut model = LinkModel::new();
    model.up = true;
    model.server = Server::RunsAndForges(FORGED);
    let script = model.submit(Kind::Script.frame());
    model.write(SIZE);
    model.reply();
    assert_eq!(model.on_link.len(), 2, "the connection asks with a PING");
    model.write(SIZE);
    model.reply();
    assert_eq!((model.fates(script), model.admission.queued()), (vec![Some(Fate::Unknown)], 0));
    let next = model.submit(Kind::Script.frame());
    model.write(SIZE);
    assert_eq!(model.runs.len(), 2);
    // The link is lost before anything says whether it ran.
    model.reply();
    model.lose();
    assert_eq!(model.fates(next), [Some(Fate::Unknown)]);
}

/// Ablation: a script that is used to ask the server again fails with `[script, script]`.
#[test]
fn a_script_waits_for_a_server_that_refuses_a_ping_too() {
    let mut model = LinkModel::new();
    model.up = true;
    model.server = LOADING;
    let script = model.submit(Kind::Script.frame());
    model.write(SIZE);
    model.reply();
    model.write(SIZE);
    model.reply();
    assert_eq!((model.fates(script), model.admission.queued()), (vec![], 1), "it waits");
    for _ in 0..3 {
        model.now += Duration::from_secs(1);
        model.release();
        model.write(SIZE);
        model.reply();
    }
    assert_eq!(model.sent_order, [script], "only PING is sent meanwhile");
    model.server = Server::Ready;
    model.now += Duration::from_millis(500);
    model.release();
    model.write(SIZE);
    model.reply();
    model.write(SIZE);
    model.reply();
    assert_eq!((model.fates(script), model.sent_order.clone()), (vec![None], vec![script; 2]));
}

/// Ablation: evidence that is not asked for before a PING fails with a PING on the link.
#[test]
fn a_command_behind_a_script_says_whether_its_refusal_is_true() {
    for (server, fate, queued) in [(LOADING, None, 2), (Server::RunsAndForges(FORGED), Some(Fate::Unknown), 0)] {
        let mut model = LinkModel::new();
        model.up = true;
        model.server = server;
        let script = model.submit(Kind::Script.frame());
        model.submit(Kind::Write.frame());
        model.write(2 * SIZE);
        model.reply();
        model.reply();
        assert_eq!(model.fates(script), fate.map(Some).into_iter().collect::<Vec<_>>());
        assert_eq!((model.admission.queued(), model.on_link.len()), (queued, 2));
    }
}

/// Ablations: with an own question that counts as a command that ran, the refused command is answered `Rejected`, when the
/// link is lost as well as when the question is answered.
#[test]
fn a_command_of_the_connection_overtakes_no_other() {
    for answered in [false, true] {
        let mut model = LinkModel::new();
        model.up = true;
        model.server = LOADING;
        let refused = model.submit(Frame::new("INCR").key("k"));
        model.write(SIZE);
        model.server = Server::Ready;
        model.ping();
        model.write(SIZE);
        model.reply();
        if answered {
            model.reply();
        } else {
            model.lose();
        }
        assert_eq!((model.fates(refused), model.admission.queued()), (vec![], 1), "answered: {answered}");
    }
}

#[test]
fn a_command_waits_in_the_queue_no_longer_than_it_may_and_keeps_its_deadline_on_the_wire() {
    let mut model = LinkModel::new();
    model.admission = Admission::new(Limits { queued_time: Some(Duration::from_secs(1)), ..limits() });
    let start = model.now;
    let (common, own) = (Frame::new("INCR").key("k"), Frame::new("INCR").key("k").timeout(Duration::from_secs(60)));
    let waits = model.submit(common.clone());
    let waits_too = model.submit(own.clone());
    model.now = start + Duration::from_secs(1);
    model.admission.expire(model.now, ConnectionState::Backoff);
    assert_eq!([model.fates(waits), model.fates(waits_too)], [[Some(Fate::NotSent)], [Some(Fate::NotSent)]]);
    let sent = model.submit(own);
    model.up = true;
    model.release();
    model.now += Duration::from_secs(59);
    model.admission.expire(model.now, ConnectionState::Ready);
    assert!(model.fates(sent).is_empty());
    model.now += Duration::from_secs(1);
    model.admission.expire(model.now, ConnectionState::Ready);
    assert_eq!(model.fates(sent), [Some(Fate::Unknown)]);
}
