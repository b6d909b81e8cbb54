//! `GET|POST /v1/unsubscribe`: where the links of mails lead (RFC 8058). No key: the link's token is the right.
//!
//! A mail provider posts when its user presses "unsubscribe"; a person who opens the link sees a page with one button that
//! posts the same. GET changes nothing, as programs that look for bad links follow every one. Neither says whose link it is.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use url::form_urlencoded;

use super::problem::{Kind, Problem};
use super::{App, body};
use crate::limits::{BODY_WITHIN, UNSUBSCRIBE_BYTES_MAX};
use crate::owner::Command;
use crate::provider::words;
use crate::unsubscribe::{Leaving, TOKEN_PARAMETER};

/// What a request that means it says (RFC 8058, section 3.1).
const NAME: &str = "List-Unsubscribe";
const VALUE: &str = "One-Click";
const HEADERS: [(header::HeaderName, &str); 6] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; form-action 'self'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// The page with the button.
pub(super) async fn ask(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    match leaving(&app, query.as_deref()) {
        Ok(leaving) => {
            let what = what(&leaving);
            // Without an action a form is posted to the page's own address, token included.
            let form = format!(
                "<p>Do you want no more {what}?</p><form method=\"post\"><input type=\"hidden\" \
                 name=\"{NAME}\" value=\"{VALUE}\"><button>Unsubscribe</button></form>"
            );
            page(StatusCode::OK, &form)
        }
        Err(problem) => {
            let status = StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::BAD_REQUEST);
            page(status, "<p>This link is not complete, or not one of ours. Nothing was changed.</p>")
        }
    }
}

/// Ends them. A second time it changes nothing and says the same.
pub(super) async fn leave(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    request: Body,
) -> Result<Response, Problem> {
    let leaving = leaving(&app, query.as_deref())?;
    let said = body::whole(request, UNSUBSCRIBE_BYTES_MAX, BODY_WITHIN).await?;
    if !means_it(&said) {
        return Err(Problem::new(Kind::Malformed, format!("post the form field {NAME}={VALUE}")));
    }
    let page = page(StatusCode::OK, &format!("<p>You will get no more {}.</p>", what(&leaving)));
    app.command(Command::Unsubscribe(leaving)).await?;
    Ok(page)
}

/// Whose link it is.
fn leaving(app: &App, query: Option<&str>) -> Result<Leaving, Problem> {
    let Some(exits) = &app.exits else {
        return Err(Problem::new(Kind::NotFound, "mails of this router have no such links"));
    };
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let token = pairs.find(|(name, _)| name == TOKEN_PARAMETER).map(|(_, token)| token);
    let token =
        token.ok_or_else(|| Problem::new(Kind::Malformed, format!("the link has no `{TOKEN_PARAMETER}`")))?;
    exits.read(&token).ok_or_else(|| Problem::new(Kind::Forbidden, "the link is not one of ours"))
}

/// As a form, or in parts like a form with files: mail providers do either (RFC 8058, section 3.2).
fn means_it(body: &[u8]) -> bool {
    form_urlencoded::parse(body).any(|(name, value)| name == NAME && value == VALUE) || says_in_parts(body)
}

fn says_in_parts(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let is_ours = |line: &str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("content-disposition:")
            && line.contains(&format!("name=\"{}\"", NAME.to_ascii_lowercase()))
    };
    let mut lines = text.lines().skip_while(|line| !is_ours(line)).skip_while(|line| !line.is_empty());
    lines.nth(1) == Some(VALUE)
}

fn what(leaving: &Leaving) -> String {
    leaving.category.as_deref().map_or_else(
        || "mails like this one".to_owned(),
        |category| format!("mails of the kind “{}”", words::xml(category)),
    )
}

fn page(status: StatusCode, body: &str) -> Response {
    let text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Unsubscribe</title>{body}</html>\n"
    );
    let mut page = (status, text).into_response();
    for (name, value) in HEADERS {
        page.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_means_it_is_believed_by_a_form_or_in_parts() {
        let parts = |name: &str, value: &str| {
            format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n--x--\r\n")
        };
        let taken = ["List-Unsubscribe=One-Click", "a=b&List-Unsubscribe=One%2DClick", &parts(NAME, VALUE)];
        for body in taken {
            assert!(means_it(body.as_bytes()), "{body}");
        }
        let refused = ["", "List-Unsubscribe", "List-Unsubscribe=No", "One-Click", "{}", &parts(NAME, "No")];
        for body in refused {
            assert!(!means_it(body.as_bytes()), "{body}");
        }
        assert!(!means_it(parts("other", VALUE).as_bytes()) && !means_it(b"\xff\xfe"));
    }

    #[test]
    fn a_category_is_shown_and_is_no_markup() {
        let leaving = Leaving { user: "ada".to_owned(), category: Some("<b>\"&".to_owned()), mark: [0; 16] };
        assert_eq!(what(&leaving), "mails of the kind “&lt;b&gt;&quot;&amp;”");
    }
}
