//! The simulators' control: `PUT /faults`, `GET /received[?provider=NAME]`, `DELETE /received`, `PUT /subscription`, `GET /healthz`.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::faults::Faults;
use super::http::{Answered, Asked, Body, plain};
use super::sns;
use super::world::World;

pub(super) async fn serve(socket: TcpListener, world: Arc<World>) {
    loop {
        let Ok((stream, _)) = socket.accept().await else { continue };
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let world = Arc::clone(&world);
                async move { answer(&world, request).await }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let _the_client_is_gone = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(world: &World, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let answered = match Asked::read(request).await {
        Ok(asked) => route(world, &asked),
        Err(answered) => answered,
    };
    Ok(plain(answered))
}

fn route(world: &World, asked: &Asked) -> Answered {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("PUT", "/faults") => match Faults::parse(&asked.body) {
            Ok(faults) => {
                world.set_faults(faults);
                Answered::json(200, &json!({}))
            }
            Err(why) => Answered::json(400, &json!({ "error": why })),
        },
        ("GET", "/received") => {
            let received = world.received();
            let letters = received.of(asked.query.strip_prefix("provider="));
            Answered::json(200, &json!({ "count": received.count(), "letters": letters }))
        }
        ("DELETE", "/received") => {
            world.received().clear();
            Answered::json(200, &json!({}))
        }
        ("PUT", "/subscription") => {
            let said: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
            match said["endpoint"].as_str() {
                Some(endpoint) => {
                    sns::subscribe(world, endpoint);
                    Answered::json(200, &json!({}))
                }
                None => Answered::json(400, &json!({ "error": "{\"endpoint\": \"http://…\"} is needed" })),
            }
        }
        ("GET", "/healthz") => Answered::json(200, &json!({})),
        _ => Answered::json(
            404,
            &json!({ "error": "PUT /faults, GET or DELETE /received, PUT /subscription, GET /healthz" }),
        ),
    }
}
