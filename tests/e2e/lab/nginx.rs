//! nginx as a backend that many connections cannot overwhelm.

use super::command::{Spawned, wait_until};
use super::namespace::Lab;

/// A running nginx, with one worker process.
pub(crate) struct Nginx {
    process: Spawned,
}

impl Nginx {
    /// `servers` are `server { ... }` blocks; files are served from the folder `www` of the test.
    #[track_caller]
    pub(crate) fn start(lab: &Lab, port: u16, servers: &str) -> Self {
        std::fs::create_dir_all(lab.path("www")).expect("the folder is ours");
        let dir = lab.path("");
        let config = format!(
            r#"user root root;
daemon off;
master_process off;
pid nginx.pid;
error_log nginx-error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 18000; }}
http {{
    access_log off;
    root {root};
    client_body_temp_path body;
    client_max_body_size 0;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 10000000;
    keepalive_timeout 120s;
    sendfile on;
    {servers}
}}
"#,
            root = lab.path("www").display(),
        );
        let path = lab.write("nginx.conf", config);
        let path = path.to_str().expect("a path in UTF-8");
        let prefix = dir.to_str().expect("a path in UTF-8");
        let words = ["nginx", "-p", prefix, "-c", path, "-e", "nginx-error.log"];
        let mut nginx = Self { process: Spawned::start(&words, &dir, "nginx") };
        wait_until(10, "nginx to listen", || {
            let ended = nginx.process.try_wait();
            assert!(ended.is_none(), "nginx ended: {}", nginx.process.stderr());
            std::net::TcpStream::connect(("10.9.0.1", port)).is_ok()
        });
        nginx
    }

    /// One server on a port: `/` answers with a line, files are served from `www`.
    #[track_caller]
    pub(crate) fn small(lab: &Lab, port: u16) -> Self {
        let server = format!(
            "server {{ listen 10.9.0.1:{port} backlog=8192; \
             location = / {{ return 200 \"hello from {port}\\n\"; }} \
             location / {{ try_files $uri =404; }} }}"
        );
        Self::start(lab, port, &server)
    }
}
