//! The log: one line an event, to standard error. What is logged while a request is answered names the request.
//!
//! There is no span for that: most requests log nothing, and a span is written down before anybody knows.

use std::fmt;
use std::io::{IsTerminal as _, stderr};

use http::{Method, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use uuid::Uuid;

/// The `[log]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// What to log, as `tracing` filters read: `info`, `portcullis=debug,info` …
    pub filter: String,
    /// `text` for people or `json` for machines.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "warn,portcullis=info".to_owned(), format: LogFormat::Text }
    }
}

/// Starts logging for this process; a second call changes nothing.
///
/// # Errors
/// When the filter can't be understood.
pub fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.filter)?;
    let is_terminal = stderr().is_terminal();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_target(false);
    let _already_started = match settings.format {
        LogFormat::Text => builder
            .map_event_format(|format| WithRequest {
                format: format.with_ansi(is_terminal),
                tell: Request::as_text,
                end: "\n",
            })
            .try_init(),
        LogFormat::Json => builder
            .json()
            .map_event_format(|format| WithRequest { format, tell: Request::as_json, end: "}\n" })
            .try_init(),
    };
    Ok(())
}

tokio::task_local! {
    static REQUEST: Request;
}

/// A request, as the log names it. The query may hold secrets and stays out.
#[derive(Debug)]
pub struct Request {
    pub method: Method,
    pub uri: Uri,
    pub id: Uuid,
}

impl Request {
    /// Does this request's work: what it logs names the request.
    pub fn does<T>(self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        REQUEST.scope(self, work)
    }

    fn as_text(&self) -> String {
        format!(" request{{method={} path={:?} id={}}}", self.method, self.uri.path(), self.id)
    }

    fn as_json(&self) -> String {
        let (method, path, id) = (self.method.as_str(), self.uri.path(), self.id);
        format!(",\"request\":{}", json!({ "method": method, "path": path, "id": id }))
    }
}

/// A format of a line, and before its end the request that it is about.
struct WithRequest<F> {
    format: F,
    tell: fn(&Request) -> String,
    end: &'static str,
}

impl<S, N, F> FormatEvent<S, N> for WithRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Ok(told) = REQUEST.try_with(self.tell) else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_suffix(self.end) {
            Some(line) => write!(writer, "{line}{told}{}", self.end),
            None => writer.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What two events come to as text and as JSON, of which the second is about a request.
    async fn lines(format: LogFormat) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = written.clone();
        let writer = move || Sink(sink.clone());
        let builder = tracing_subscriber::fmt().with_writer(writer).without_time();
        let dispatch: tracing::Dispatch = match format {
            LogFormat::Text => builder
                .map_event_format(|format| WithRequest {
                    format: format.with_ansi(false),
                    tell: Request::as_text,
                    end: "\n",
                })
                .finish()
                .into(),
            LogFormat::Json => builder
                .json()
                .map_event_format(|format| WithRequest {
                    format,
                    tell: Request::as_json,
                    end: "}\n",
                })
                .finish()
                .into(),
        };
        let guard = tracing::dispatcher::set_default(&dispatch);
        tracing::info!("alone");
        let uri = Uri::from_static("/a%22b?secret=x");
        let request = Request { method: Method::POST, uri, id: Uuid::nil() };
        request.does(async { tracing::info!(of = 1, "asked") }).await;
        drop(guard);
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_logged_during_a_request_names_it_without_its_query() {
        let id = "00000000-0000-0000-0000-000000000000";
        let text = lines(LogFormat::Text).await;
        let (alone, asked) = text.trim().split_once('\n').unwrap();
        assert!(alone.ends_with("alone"), "{alone}");
        let request = format!("request{{method=POST path=\"/a%22b\" id={id}}}");
        assert!(asked.contains("asked of=1 ") && asked.ends_with(&request), "{asked}");
        let json = lines(LogFormat::Json).await;
        let lines: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines[0].get("request").is_none());
        let expected = json!({ "method": "POST", "path": "/a%22b", "id": id });
        assert_eq!((&lines[1]["request"], &lines[1]["fields"]["of"]), (&expected, &json!(1)));
    }
}
