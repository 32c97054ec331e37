//! The measured service: a few endpoints over one client.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::{App, HttpResponse, HttpServer, dev::Server, web};

use crate::client::{Client, Connect, Op, text};
use crate::clients::{ours, redis_rs};

/// The service without Redis.
pub(super) const NONE: &str = "no Redis";
pub(super) const WORKERS: usize = 2;
pub(super) const SMALL: &str = "bench:user:0001";
pub(super) const LARGE: &str = "bench:page:0001";

pub(super) fn numbered(nth: usize) -> String {
    format!("bench:item:{nth:04}")
}

type Started = Pin<Box<dyn Future<Output = Result<(Server, u16), String>>>>;

/// A contender: its name with its arrangement, and a function that starts the service.
type Contender = (String, fn(u16) -> Started);

fn contenders() -> Vec<Contender> {
    let mut all: Vec<Contender> = vec![
        (NONE.to_owned(), |_| Box::pin(async { bind(|| App::new().route("/{any}", web::get().to(constant))) })),
        ("redis-actix, shared".to_owned(), shared::<ours::Here>),
        ("redis-actix on its own thread, shared".to_owned(), shared::<ours::OwnThread>),
        ("redis-actix with connections(per_thread), per worker".to_owned(), shared::<ours::PerThread>),
        ("redis-actix, a handle each, per worker".to_owned(), per_worker::<ours::Here>),
    ];
    all.extend(of_peer::<redis_rs::Tuned>());
    all.extend(of_peer::<redis_rs::Manager>());
    #[cfg(feature = "peers")]
    {
        all.extend(of_peer::<crate::clients::rustis::Rustis>());
        all.extend(of_peer::<crate::clients::fred::Fred>());
        all.extend(of_peer::<crate::clients::deadpool::Pooled>());
    }
    all
}

fn of_peer<C: Connect>() -> [Contender; 2]
where
    C::Client: Sync,
{
    [(format!("{}, shared", C::NAME), shared::<C>), (format!("{}, per worker", C::NAME), per_worker::<C>)]
}

/// The names of all contenders. The first has no client.
pub(super) fn names() -> Vec<String> {
    contenders().into_iter().map(|(name, _)| name).collect()
}

/// Runs the service of one contender until it is killed. Prints its port.
///
/// # Errors
/// When the arguments are wrong, or the client cannot connect.
pub fn serve(args: &[String]) -> Result<bool, String> {
    let [name, port] = args else { return Err("usage: web-service <contender> <port of redis>".to_owned()) };
    let port = port.parse().map_err(|_| format!("{port} is no port"))?;
    let (_, start) = contenders().into_iter().find(|(known, _)| known == name).ok_or("no such contender")?;
    actix_web::rt::System::new().block_on(async move {
        let (server, http) = start(port).await?;
        println!("{http}");
        server.await.map_err(text)
    })?;
    Ok(true)
}

/// One connection for all workers.
fn shared<C: Connect>(port: u16) -> Started
where
    C::Client: Sync,
{
    Box::pin(async move {
        let client = C::connect(port).await?;
        bind(move || App::new().app_data(web::Data::new(client.clone())).configure(endpoints::<C>))
    })
}

/// A connection for each worker.
fn per_worker<C: Connect>(port: u16) -> Started
where
    C::Client: Sync,
{
    Box::pin(async move {
        bind(move || {
            let connect = move || async move { C::connect(port).await.map_err(std::io::Error::other) };
            App::new().data_factory(connect).configure(endpoints::<C>)
        })
    })
}

fn bind<F, T, B>(app: F) -> Result<(Server, u16), String>
where
    F: Fn() -> App<T> + Send + Clone + 'static,
    T: actix_web::dev::ServiceFactory<
            actix_web::dev::ServiceRequest,
            Config = (),
            Response = actix_web::dev::ServiceResponse<B>,
            Error = actix_web::Error,
            InitError = (),
        > + 'static,
    B: actix_web::body::MessageBody + 'static,
{
    let server = HttpServer::new(app).workers(WORKERS).disable_signals().bind(("127.0.0.1", 0)).map_err(text)?;
    let port = server.addrs().first().ok_or("no address")?.port();
    Ok((server.run(), port))
}

fn endpoints<C: Connect>(config: &mut web::ServiceConfig) {
    config
        .route("/get", web::get().to(get::<C::Client>))
        .route("/sequential", web::get().to(sequential::<C::Client>))
        .route("/parallel", web::get().to(parallel::<C::Client>))
        .route("/set-get", web::get().to(set_get::<C::Client>))
        .route("/large", web::get().to(large::<C::Client>));
}

async fn constant() -> HttpResponse {
    answer(64)
}

fn answer(len: usize) -> HttpResponse {
    HttpResponse::Ok().body(len.to_string())
}

fn outcome(len: Result<usize, String>) -> HttpResponse {
    len.map_or_else(|error| HttpResponse::InternalServerError().body(error), answer)
}

async fn get<C: Client>(client: web::Data<C>) -> HttpResponse {
    outcome(client.get_ref().clone().run(&Op::Get(SMALL.to_owned())).await)
}

async fn large<C: Client>(client: web::Data<C>) -> HttpResponse {
    outcome(client.get_ref().clone().run(&Op::Get(LARGE.to_owned())).await)
}

async fn sequential<C: Client>(client: web::Data<C>) -> HttpResponse {
    let (mut client, mut sum) = (client.get_ref().clone(), 0);
    for nth in 0..10 {
        match client.run(&Op::Get(numbered(nth))).await {
            Ok(len) => sum += len,
            Err(error) => return outcome(Err(error)),
        }
    }
    answer(sum)
}

async fn parallel<C: Client>(client: web::Data<C>) -> HttpResponse {
    let gets = (0..10).map(|nth| {
        let mut client = client.get_ref().clone();
        async move { client.run(&Op::Get(numbered(nth))).await }
    });
    let lens = futures_util::future::join_all(gets).await;
    outcome(lens.into_iter().sum())
}

async fn set_get<C: Client>(client: web::Data<C>) -> HttpResponse {
    let (mut client, value) = (client.get_ref().clone(), Arc::<[u8]>::from([b'x'; 64]));
    if let Err(error) = client.run(&Op::Set(SMALL.to_owned(), value)).await {
        return outcome(Err(error));
    }
    outcome(client.run(&Op::Get(SMALL.to_owned())).await)
}
