//! Optimistic transactions on connections of their own.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use crate::support::{TIME_LIMIT, config, eventually, hasty, ms};
use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Fate, LinkLimit};

const ACCOUNTS: usize = 8;

fn account(n: usize) -> String {
    format!("account:{n}")
}

#[actix::test]
async fn sixty_four_tasks_move_amounts_and_the_sum_never_changes() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).links(LinkLimit::new(8)).start().expect("started");
    for n in 0..ACCOUNTS {
        redis.send(Set::new(account(n), 1000)).await.expect("set");
    }
    let attempts = Rc::new(Cell::new(0));
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let (redis, attempts) = (redis.clone(), attempts.clone());
            actix::spawn(async move {
                let mut random = fastrand::Rng::with_seed(task);
                for _ in 0..5 {
                    let (from, to) = (random.usize(0..ACCOUNTS), random.usize(1..ACCOUNTS));
                    let (from, to) = (account(from), account((from + to) % ACCOUNTS));
                    let amount = random.i64(1..50);
                    let moved = redis.watch([from.clone(), to.clone()], |tx| {
                        let (from, to) = (from.clone(), to.clone());
                        attempts.set(attempts.get() + 1);
                        async move {
                            let (a, b) = tx.send(Pipeline::new((Get::<i64>::new(&from), Get::<i64>::new(&to)))).await?;
                            let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
                            Ok(Some(Transaction::new((Set::new(&from, a - amount), Set::new(&to, b + amount)))))
                        }
                    });
                    assert_eq!(moved.await.expect("within the attempts"), Some((true, true)));
                }
            })
        })
        .collect();
    let watching = async {
        for task in tasks {
            task.await.expect("no panic");
        }
    };
    tokio::time::timeout(TIME_LIMIT * 3, watching).await.expect("in time");
    let balances = redis.send(Pipeline::new((0..ACCOUNTS).map(|n| Get::<i64>::new(account(n))).collect::<Vec<_>>()));
    let balances: Vec<i64> = balances.await.expect("read").into_iter().flatten().collect();
    assert_eq!(balances.iter().sum::<i64>(), 1000 * ACCOUNTS as i64, "{balances:?}");
    assert!((320..=320 * 32).contains(&attempts.get()), "{} attempts", attempts.get());
    assert!(server.clients().expect("listed").len() <= 9, "8 links and the shared one");
}

#[actix::test]
async fn a_watch_that_loses_every_time_fails() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let attempts = Cell::new(0);
    let outcome = redis.watch(Watch::new(["k"]).attempts(4), |tx| {
        attempts.set(attempts.get() + 1);
        let redis = redis.clone();
        async move {
            tx.send(Get::<i64>::new("k")).await?;
            redis.send(Incr::new("k")).await?;
            Ok(Some(Transaction::new((Set::new("k", 0),))))
        }
    });
    let error = outcome.await.expect_err("always overtaken");
    assert_eq!((error.kind(), error.fate(), attempts.get()), (ErrorKind::Conflict, Fate::Rejected, 4), "{error}");
    assert!(error.to_string().contains("4 attempts"), "{error}");
    assert_eq!(redis.send(Get::<i64>::new("k")).await.expect("read"), Some(4));
}

#[actix::test]
async fn leaving_everything_as_it_is_leaves_nothing_watched() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).links(LinkLimit::new(1)).start().expect("started");
    let nothing = redis.watch(["k"], |_| async { Ok(None::<Transaction<(Incr,)>>) }).await.expect("decided");
    assert_eq!(nothing, None);
    let failing = redis.watch(["k"], |tx| async move {
        let word: Option<i64> = tx.send(Get::new("word")).await?;
        Ok(word.map(|_| Transaction::new((Incr::new("k"),))))
    });
    redis.send(Set::new("word", "x")).await.expect("set");
    assert_eq!(failing.await.expect_err("not a number").kind(), ErrorKind::Decode);
    let endless = redis.watch(["k"], |_| std::future::pending::<redis_actix::Result<Option<Transaction<(Incr,)>>>>());
    assert!(tokio::time::timeout(ms(100), endless).await.is_err(), "given up");
    // If one of them had left `k` watched on the only link, this change would spoil the next transaction.
    redis.send(Incr::new("k")).await.expect("counted");
    let attempts = Cell::new(0);
    let counted = redis.watch(["other"], |_| {
        attempts.set(attempts.get() + 1);
        async { Ok(Some(Transaction::new((Incr::new("k"),)))) }
    });
    assert_eq!((counted.await.expect("ran"), attempts.get()), (Some((2,)), 1));
}

/// Ablation: without the generation that the commands of a watch are bound to, the transaction runs on the
/// next link, which watches nothing, and 100 is lost.
#[actix::test]
async fn a_link_lost_after_the_reads_never_runs_the_transaction_unguarded() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).links(LinkLimit::new(1)).start().expect("started");
    redis.send(Set::new("k", 1)).await.expect("set");
    let attempts = Cell::new(0);
    let counted = redis.watch(["k"], |tx| {
        attempts.set(attempts.get() + 1);
        let (first, server) = (attempts.get() == 1, &server);
        async move {
            let k: i64 = tx.send(Get::new("k")).await?.unwrap_or_default();
            if first {
                server.command(["CLIENT", "KILL", "TYPE", "normal"]).expect("killed");
                server.command(["SET", "test:k", "100"]).expect("set");
                eventually("both links again", || (server.clients().ok()?.len() == 2).then_some(())).await;
            }
            Ok(Some(Transaction::new((Set::new("k", k + 1),))))
        }
    });
    assert_eq!(counted.await.expect("the second attempt"), Some((true,)));
    assert_eq!((redis.send(Get::<i64>::new("k")).await.expect("read"), attempts.get()), (Some(101), 2));
}

#[actix::test]
async fn what_would_end_the_watch_or_hold_it_up_is_refused() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let escaped = RefCell::new(None);
    redis
        .watch(["k"], |tx| {
            *escaped.borrow_mut() = Some(tx.clone());
            async move {
                let refused = [
                    tx.send(Transaction::new((Incr::new("k"),))).await.err(),
                    tx.send(Raw::<()>::new("exec")).await.err(),
                    tx.send(Raw::<()>::new("UNWATCH")).await.err(),
                ];
                for error in refused {
                    assert_eq!(error.expect("refused").kind(), ErrorKind::InvalidCommand);
                }
                Ok(None::<Transaction<(Incr,)>>)
            }
        })
        .await
        .expect("decided");
    let late = escaped.take().expect("kept").send(Get::<i64>::new("k")).await.expect_err("over");
    assert_eq!((late.kind(), late.fate()), (ErrorKind::InvalidCommand, Fate::NotSent));
    let none = redis.watch(Vec::<String>::new(), |_| async { Ok(None::<Transaction<(Incr,)>>) }).await;
    assert_eq!(none.expect_err("no keys").to_string(), "WATCH: needs at least one key");
}

#[actix::test]
async fn links_are_bounded_and_end_when_idle() {
    let server = crate::support::server();
    let config = config(server.port()).command_timeout(ms(300));
    let redis = hasty(config).links(LinkLimit::new(1).idle(ms(50))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let (holder, server_of) = (redis.clone(), server.port());
    let held = actix::spawn(async move {
        holder.watch(["k"], |_| std::future::pending::<redis_actix::Result<Option<Transaction<(Incr,)>>>>()).await
    });
    eventually("the link", || (server.clients().ok()?.len() == 2).then_some(())).await;
    let refused = redis.watch(["k"], |_| async { Ok(None::<Transaction<(Incr,)>>) }).await.expect_err("no room");
    assert_eq!((refused.kind(), refused.fate()), (ErrorKind::Overloaded, Fate::NotSent), "{refused} {server_of}");
    held.abort();
    redis.watch(["k"], |_| async { Ok(None::<Transaction<(Incr,)>>) }).await.expect("room again");
    eventually("the idle link gone", || (server.clients().ok()?.len() == 1).then_some(())).await;
    redis.watch(["k"], |_| async { Ok(None::<Transaction<(Incr,)>>) }).await.expect("a new link");
}

#[actix::test]
async fn a_shutdown_ends_them_too() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.watch(["k"], |_| async { Ok(None::<Transaction<(Incr,)>>) }).await.expect("decided");
    redis.shutdown(Duration::from_secs(1)).await.expect("a report");
    eventually("no client left", || server.clients().ok()?.is_empty().then_some(())).await;
    let error = redis.watch(["k"], |_| async { Ok(None::<Transaction<(Incr,)>>) }).await.expect_err("closed");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotSent));
}

/// The future is `Send` when its closure is, and links live where the actor does.
#[test]
fn from_another_executor() {
    let server = crate::support::server();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    runtime.block_on(async {
        let redis = hasty(config(server.port())).start_on_own_thread().expect("started");
        let task = tokio::spawn(async move {
            redis.watch(["k"], |_| async { Ok(Some(Transaction::new((Incr::new("k"),)))) }).await
        });
        assert_eq!(task.await.expect("no panic").expect("counted"), Some((1,)));
    });
}
