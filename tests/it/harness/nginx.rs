//! The real nginx, configured as `docs/guides/reverse-proxies.md` has it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::services::missing;

/// What the guide calls Portcullis, the API, and itself.
const ADDRESSES: [&str; 3] = ["127.0.0.1:8080", "127.0.0.1:3000", "listen 8000;"];

/// A running nginx; killed when it is dropped.
pub struct Nginx {
    child: Child,
    address: String,
    /// Its configuration, log and temporary files.
    _directory: TempDir,
}

impl Nginx {
    /// The program that `PORTCULLIS_TEST_NGINX` names, or the one in the path; none where it is missing.
    pub fn binary() -> Option<PathBuf> {
        let named = std::env::var_os("PORTCULLIS_TEST_NGINX").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = || std::env::split_paths(&path).map(|directory| directory.join("nginx"));
        // Debian has it where ordinary users don't look.
        let usual = || std::iter::once(PathBuf::from("/usr/sbin/nginx"));
        let found = named.or_else(|| in_path().chain(usual()).find(|file| file.is_file()));
        if found.is_none() {
            missing("nginx", "install Debian's nginx-light, or set PORTCULLIS_TEST_NGINX");
        }
        found
    }

    /// Starts it before an API, with the Portcullis that it is to ask.
    pub async fn starts(portcullis: &str, api: &str) -> Self {
        // A port that was free a moment ago may be taken by another test.
        for _ in 0..5 {
            if let Some(nginx) = Self::try_start(portcullis, api).await {
                return nginx;
            }
        }
        panic!("nginx found no port");
    }

    async fn try_start(portcullis: &str, api: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let (guide, _) = guide().split_once("```").unwrap();
        let [our_place, api_place, listen] = ADDRESSES;
        for place in ADDRESSES {
            assert!(guide.contains(place), "the guide says nothing of {place}");
        }
        let site = guide
            .replace(our_place, portcullis)
            .replace(api_place, api)
            .replace(listen, &format!("listen {address};"));
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths = paths.map(|name| format!("{name}_temp_path {name};\n")).concat();
        // One process, so that its end is the end.
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {{}}\nhttp {{\n\
             access_log off;\n{paths}{site}\n}}\n"
        );
        std::fs::write(directory.path().join("nginx.conf"), configuration).unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut child = Command::new(Self::binary().unwrap())
            .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        loop {
            if tokio::net::TcpStream::connect(&address).await.is_ok() {
                break;
            }
            if child.try_wait().unwrap().is_some() {
                let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
                assert!(log.contains("Address already in use"), "nginx did not start: {log}");
                return None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Some(Self { child, address: format!("http://{address}"), _directory: directory })
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The guide from its configuration of nginx on.
fn guide() -> &'static str {
    let guide = include_str!("../../../docs/guides/reverse-proxies.md");
    guide.split_once("```nginx\n").unwrap().1
}
