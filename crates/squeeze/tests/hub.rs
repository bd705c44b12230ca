//! Models of the Hub, from a server on this machine that answers as the Hub does, or as it should not.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use squeeze::formats::{model, safetensors};
use squeeze::graph::ops::Activation;
use squeeze::rewrite::fresh;
use squeeze::tensor::{Seed, Weights};
use squeeze::zoo::blocks::Groups;
use squeeze::zoo::{Encoder, EncoderFamily, Options};

/// How a server answers.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// As the Hub.
    Well,
    /// Each answer ends after so many bytes of its file.
    Truncated(usize),
    /// Each answer stops after its first bytes and never ends.
    Stalled,
    /// Ranges are not heard of: an answer is the whole file.
    Whole,
}

/// A Hub of one model.
struct Server {
    address: String,
    /// Path, range and token of each request.
    requests: Arc<Mutex<Vec<[String; 3]>>>,
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl Server {
    fn start(files: BTreeMap<&'static str, Vec<u8>>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let requests = Arc::new(Mutex::new(vec![]));
        let seen = Arc::clone(&requests);
        let files = Arc::new(files);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, seen) = (Arc::clone(&files), Arc::clone(&seen));
                thread::spawn(move || answer(stream, &files, manner, &seen));
            }
        });
        Self { address, requests }
    }

    fn paths(&self) -> Vec<String> {
        let requests = self.requests.lock().expect("no thread broke");
        requests.iter().map(|[path, ..]| path.clone()).collect()
    }
}

fn answer(
    stream: TcpStream,
    files: &BTreeMap<&'static str, Vec<u8>>,
    manner: Manner,
    seen: &Mutex<Vec<[String; 3]>>,
) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut range, mut token) = (String::new(), String::new());
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let (key, value) = line.split_once(": ").unwrap_or_default();
        match &*key.to_lowercase() {
            "range" => range = value.to_owned(),
            "authorization" => token = value.to_owned(),
            _ => {}
        }
    }
    let request = [path.clone(), range.clone(), token];
    seen.lock().expect("no thread broke").push(request);
    let mut stream = &stream;
    let prefixes = [
        "/org/tiny/resolve/main/".to_owned(),
        format!("/org/tiny/resolve/{COMMIT}/"),
    ];
    let file = prefixes
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix.as_str()));
    let Some((name, bytes)) = file.and_then(|file| files.get_key_value(file)) else {
        let _ = stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    };
    let range = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'));
    let (start, end) = match range {
        Some((start, end)) => (
            start.parse().unwrap_or(0).min(bytes.len()),
            end.parse::<usize>()
                .map_or(bytes.len(), |end| (end + 1).min(bytes.len())),
        ),
        None => (0, bytes.len()),
    };
    // A single byte is asked for to learn the size.
    let is_question = (start, end) == (0, 1);
    let (start, end) = match manner {
        Manner::Whole if !is_question => (0, bytes.len()),
        _ => (start, end),
    };
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nETag: \"{name}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {start}-{}/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        end.saturating_sub(1),
        bytes.len(),
        end - start,
    );
    let _ = stream.write_all(head.as_bytes());
    let part = &bytes[start..end];
    match manner {
        Manner::Truncated(most) if !is_question => {
            let _ = stream.write_all(&part[..part.len().min(most)]);
        }
        Manner::Stalled if !is_question && name.ends_with("safetensors") => {
            let _ = stream.write_all(&part[..part.len().min(10)]);
            thread::sleep(Duration::from_secs(30));
        }
        _ => {
            let _ = stream.write_all(part);
        }
    }
    let _ = stream.flush();
    let _ = stream.take(0).read(&mut []);
}

const CONFIG: &str = r#"{
    "model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "vocab_size": 10, "max_position_embeddings": 12, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    "id2label": { "0": "bad", "1": "fair", "2": "good" }, "architectures": ["BertForSequenceClassification"]
}"#;

const VOCABULARY: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nfine\nday\nan\nawful\none\n";

fn weights() -> Weights {
    let sizes = Encoder {
        layers: 2,
        width: 16,
        heads: 2,
        inner: 24,
        tables: 16,
        vocabulary: 10,
        places: 12,
        activation: Activation::Gelu,
        epsilon: 1e-12,
        groups: Groups::DENSE,
    };
    let options = Options {
        classes: Some(3),
        length: Some(12),
        ..Options::default()
    };
    let graph = EncoderFamily::Bert.graph("org/tiny", &sizes, &options);
    fresh(&graph.expect("they fit"), Seed(3))
}

fn bytes(weights: &Weights) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("w.safetensors");
    safetensors::save(&path, weights).expect("writable");
    std::fs::read(&path).expect("written")
}

fn files() -> BTreeMap<&'static str, Vec<u8>> {
    BTreeMap::from([
        ("config.json", CONFIG.into()),
        ("vocab.txt", VOCABULARY.into()),
        ("model.safetensors", bytes(&weights())),
    ])
}

fn squeeze(home: &Path, endpoint: &str, more: &[(&str, &str)], words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squeeze"));
    for name in [
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_TOKEN",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env_remove(name);
    }
    command.env("HF_HOME", home).env("HF_ENDPOINT", endpoint);
    command.env("HF_HUB_DOWNLOAD_TIMEOUT", "5");
    command.envs(more.iter().copied());
    command.args(words).output().expect("the binary runs")
}

fn import(home: &Path, endpoint: &str, more: &[(&str, &str)]) -> Output {
    let output = home.join("tiny.squeeze").display().to_string();
    squeeze(
        home,
        endpoint,
        more,
        &["import", "hf:org/tiny", "-o", &output],
    )
}

#[track_caller]
fn worked(output: &Output) {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[track_caller]
fn failed(output: &Output, message: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains(message) && !told.contains("panicked"),
        "{told}"
    );
}

/// Importing what the server shows, without more variables, fails with this message.
#[track_caller]
fn import_fails(home: &tempfile::TempDir, server: &Server, message: &str) {
    failed(&import(home.path(), &server.address, &[]), message);
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn a_model_comes_once_and_is_used_offline() {
    let home = temporary();
    let server = Server::start(files(), Manner::Well);
    worked(&import(
        home.path(),
        &format!("{}/", server.address),
        &[("HF_TOKEN", "secret")],
    ));
    let path = home.path().join("tiny.squeeze");
    let imported = model::load(&path).expect("a model file");
    assert_eq!(imported.weights, weights());
    assert_eq!(imported.meta.labels, ["bad", "fair", "good"]);
    assert_eq!(imported.meta.card["imported_from"], "hf:org/tiny@main");
    let requests = server.requests.lock().expect("no thread broke").clone();
    assert!(requests.iter().all(|[.., token]| token == "Bearer secret"));
    // The cache is that of `huggingface_hub`.
    let snapshot = home
        .path()
        .join("hub/models--org--tiny/snapshots")
        .join(COMMIT);
    assert!(snapshot.join("model.safetensors").exists());
    let before = server.paths().len();
    std::fs::remove_file(&path).expect("written");
    worked(&import(home.path(), &server.address, &[]));
    // What the model does not have is asked for again, nothing else.
    assert!(
        server.paths()[before..]
            .iter()
            .all(|path| path.ends_with("/tokenizer.json") || path.ends_with("/modules.json"))
    );
    worked(&import(
        home.path(),
        "http://127.0.0.1:9",
        &[("HF_HUB_OFFLINE", "1")],
    ));
    let run = [
        "run",
        &path.display().to_string(),
        "--text",
        "a fine day",
        "--json",
    ];
    let told = squeeze(home.path(), "", &[], &run);
    worked(&told);
    assert!(String::from_utf8_lossy(&told.stdout).contains("\"good\""));
}

#[test]
fn cost_asks_for_the_configuration_alone() {
    let home = temporary();
    let server = Server::start(files(), Manner::Well);
    let told = squeeze(
        home.path(),
        &server.address,
        &[],
        &["cost", "hf:org/tiny", "--seq", "8", "--json"],
    );
    worked(&told);
    let line: serde_json::Value = serde_json::from_slice(&told.stdout).expect("a JSON line");
    let params: usize = weights().iter().map(|(_, tensor)| tensor.len()).sum();
    assert_eq!(line["params"], params);
    assert!(server.paths().iter().all(|path| path.ends_with(".json")));
}

#[test]
fn a_model_is_judged_on_data() {
    let home = temporary();
    let server = Server::start(files(), Manner::Well);
    let data = home.path().join("data");
    std::fs::create_dir(&data).expect("writable");
    let rows: String = (0..40)
        .map(|at| ["a fine day,good\n", "an awful day,bad\n", "a day,fair\n"][at % 3])
        .collect();
    for part in ["train.csv", "test.csv"] {
        std::fs::write(data.join(part), format!("text,label\n{rows}")).expect("writable");
    }
    let data = data.display().to_string();
    let told = squeeze(
        home.path(),
        &server.address,
        &[],
        &["eval", "hf:org/tiny", "--data", &data, "--json"],
    );
    worked(&told);
    let line: serde_json::Value = serde_json::from_slice(&told.stdout).expect("a JSON line");
    assert_eq!(line["n"], 40);
}

/// A sentence encoder as `sentence-transformers` saves it, in a folder.
fn sentence_encoder(folder: &Path, pooling: &str) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("writable");
    std::fs::create_dir_all(folder.join("1_Pooling")).expect("writable");
    write("config.json", CONFIG);
    write("vocab.txt", VOCABULARY);
    write(
        "modules.json",
        r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
            {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#,
    );
    write("1_Pooling/config.json", pooling);
    write("sentence_bert_config.json", r#"{"max_seq_length": 8}"#);
    let mut alone = Weights::default();
    for (name, tensor) in weights().iter() {
        if let Some(name) = name.strip_prefix("bert.") {
            alone.insert(name, tensor.clone());
        }
    }
    safetensors::save(&folder.join("model.safetensors"), &alone).expect("writable");
}

#[test]
fn a_sentence_encoder_in_a_folder_makes_vectors() {
    let home = temporary();
    let folder = home.path().join("tiny-sentences");
    sentence_encoder(&folder, r#"{"pooling_mode_mean_tokens": true}"#);
    let (from, to) = (folder.display().to_string(), home.path().join("s.squeeze"));
    let to = to.display().to_string();
    let ask = |words: &[&str]| squeeze(home.path(), "http://127.0.0.1:1", &[], words);
    worked(&ask(&["import", &from, "-o", &to]));
    let imported = model::load(Path::new(&to)).expect("a model file");
    assert_eq!(imported.meta.card["imported_from"], "tiny-sentences");
    assert_eq!(
        imported.graph.node(imported.graph.inputs()[0]).shape,
        [1, 8]
    );

    let line = |told: &Output| -> serde_json::Value {
        worked(told);
        serde_json::from_slice(&told.stdout).expect("a JSON line")
    };
    let vector = |text: &str| -> Vec<f64> {
        let line = line(&ask(&["run", &to, "--text", text, "--json"]));
        let numbers = line["vector"].as_array().expect("a vector").clone();
        numbers
            .iter()
            .map(|x| x.as_f64().expect("a number"))
            .collect()
    };
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let (fine, awful) = (vector("a fine day"), vector("an awful one"));
    assert_eq!(fine.len(), 16);
    assert!((dot(&fine, &fine) - 1.0).abs() < 1e-5);
    let told = ask(&[
        "run",
        &to,
        "--text",
        "a fine day",
        "--pair",
        "an awful one",
        "--json",
    ]);
    let cosine = line(&told)["cosine"].as_f64().expect("a number");
    assert!((cosine - dot(&fine, &awful)).abs() < 1e-5, "{cosine}");

    // Pairs that are rated by the very cosines are ranked like them, but for what six digits hide.
    let texts = [
        "a fine day",
        "an awful one",
        "one day",
        "a day",
        "an awful day",
    ];
    let mut rows = String::from("text,other,score\n");
    for a in texts {
        for b in texts {
            rows += &format!("{a},{b},{:.6}\n", dot(&vector(a), &vector(b)));
        }
    }
    let data = home.path().join("data");
    std::fs::create_dir(&data).expect("writable");
    for part in ["train.csv", "test.csv"] {
        std::fs::write(data.join(part), &rows).expect("writable");
    }
    let data = data.display().to_string();
    let columns = ["--pair-column", "other", "--label-column", "score"];
    let words = [&["eval", &to, "--data", &data, "--json"][..], &columns].concat();
    let judged = line(&ask(&words));
    assert_eq!(judged["metric"], "spearman");
    assert!(
        judged["value"].as_f64().expect("a number") > 0.99,
        "{judged}"
    );
}

#[test]
fn a_sentence_encoder_of_another_kind_is_refused() {
    let home = temporary();
    let folder = home.path().join("tiny");
    let to = home.path().join("s.squeeze").display().to_string();
    let from = folder.display().to_string();
    let import = |more: &[&str]| {
        let words = [&["import", &from, "-o", &to][..], more].concat();
        squeeze(home.path(), "http://127.0.0.1:1", &[], &words)
    };
    sentence_encoder(&folder, r#"{"pooling_mode_lasttoken": true}"#);
    failed(
        &import(&[]),
        "1_Pooling/config.json: one of the first token",
    );
    sentence_encoder(&folder, r#"{"pooling_mode_cls_token": true}"#);
    failed(&import(&["--pair"]), "leave out --pair");
    std::fs::write(
        folder.join("modules.json"),
        r#"[{"path": "", "type": "Transformer"}, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]"#,
    )
    .expect("writable");
    failed(&import(&[]), "models.Dense` at `2_Dense` is not known");
}

#[test]
fn weights_in_several_files() {
    let (home, all) = (temporary(), weights());
    let (mut first, mut second) = (Weights::default(), Weights::default());
    let mut map = serde_json::Map::new();
    for (at, (name, tensor)) in all.iter().enumerate() {
        let (part, file) = match at % 2 {
            0 => (&mut first, "model-00001-of-00002.safetensors"),
            _ => (&mut second, "model-00002-of-00002.safetensors"),
        };
        part.insert(name, tensor.clone());
        map.insert(name.into(), file.into());
    }
    let mut files = files();
    files.remove("model.safetensors");
    files.insert("model-00001-of-00002.safetensors", bytes(&first));
    files.insert("model-00002-of-00002.safetensors", bytes(&second));
    let index = serde_json::json!({ "weight_map": map });
    files.insert("model.safetensors.index.json", index.to_string().into());
    let server = Server::start(files.clone(), Manner::Well);
    worked(&import(home.path(), &server.address, &[]));
    let imported = model::load(&home.path().join("tiny.squeeze")).expect("a model file");
    assert_eq!(imported.weights, all);
    let home = temporary();
    let index = serde_json::json!({ "weight_map": { "x": "../../../config.json" } });
    files.insert("model.safetensors.index.json", index.to_string().into());
    let server = Server::start(files, Manner::Well);
    import_fails(&home, &server, "is no file of the model");
}

#[test]
fn what_is_not_there_is_named() {
    let home = temporary();
    let mut files = files();
    files.remove("model.safetensors");
    let server = Server::start(files.clone(), Manner::Well);
    let words = ["cost", "hf:org/other@v2"];
    let told = squeeze(home.path(), &server.address, &[], &words);
    failed(
        &told,
        "the Hub has no `config.json` of `org/other` at revision `v2`",
    );
    import_fails(&home, &server, "has no `model.safetensors` of `org/tiny`");
    let offline = [("HF_HUB_OFFLINE", "1")];
    let told = squeeze(home.path(), &server.address, &offline, &words);
    failed(&told, "is not in");
    failed(
        &squeeze(home.path(), &server.address, &[], &["cost", "hf:a/b/c"]),
        "hf:ORG/NAME",
    );
    let home = temporary();
    files.insert(
        "config.json",
        CONFIG.replace("\"bert\"", "\"llama\"").into(),
    );
    let server = Server::start(files, Manner::Well);
    import_fails(
        &home,
        &server,
        "model_type `llama` is not known, bert, roberta",
    );
}

#[test]
fn what_the_hub_says_itself_is_not_said_again() {
    let home = temporary();
    let server = Server::start(files(), Manner::Well);
    let words = [
        "import",
        "hf:org/tiny",
        "-o",
        "x.squeeze",
        "--model",
        "bert-base",
    ];
    failed(
        &squeeze(home.path(), &server.address, &[], &words),
        "leave out --model",
    );
    let words = ["import", "x.onnx", "-o", "x.squeeze", "--pair"];
    failed(
        &squeeze(home.path(), &server.address, &[], &words),
        "--pair is for models of the Hub",
    );
    let mut files = files();
    files.insert("vocab.txt", format!("{VOCABULARY}more\n").into());
    let home = temporary();
    let server = Server::start(files, Manner::Well);
    import_fails(
        &home,
        &server,
        "its tokenizer has 11 pieces, its network a table of 10",
    );
}

#[test]
fn answers_that_break_off_go_on_from_there() {
    let home = temporary();
    let size = bytes(&weights()).len();
    let server = Server::start(files(), Manner::Truncated(size / 3 + 1));
    worked(&import(home.path(), &server.address, &[]));
    let imported = model::load(&home.path().join("tiny.squeeze")).expect("a model file");
    assert_eq!(imported.weights, weights());
    let requests = server.requests.lock().expect("no thread broke").clone();
    let from = |at: usize| format!("bytes={at}-");
    let ranges: Vec<&str> = requests.iter().map(|[_, range, _]| &**range).collect();
    assert!(ranges.contains(&&*from(size / 3 + 1)), "{ranges:?}");
    assert!(ranges.contains(&&*from(2 * (size / 3 + 1))), "{ranges:?}");
}

/// The first command ends with an error, the next goes on from where the first one broke off.
#[test]
fn a_file_that_breaks_off_too_often_is_kept_for_the_next_time() {
    let home = temporary();
    let size = bytes(&weights()).len();
    let server = Server::start(files(), Manner::Truncated(size / 8));
    import_fails(&home, &server, "cannot get `model.safetensors`");
    worked(&import(home.path(), &server.address, &[]));
}

#[test]
fn an_answer_that_stops_coming_is_an_error() {
    let home = temporary();
    let server = Server::start(files(), Manner::Stalled);
    let begun = Instant::now();
    let told = import(
        home.path(),
        &server.address,
        &[("HF_HUB_DOWNLOAD_TIMEOUT", "3")],
    );
    failed(&told, "nothing came of `model.safetensors` for 3 s");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// A whole file behind the part that is there already would be longer than it says.
#[test]
fn servers_without_ranges_give_no_wrong_files() {
    let home = temporary();
    let size = bytes(&weights()).len();
    let server = Server::start(files(), Manner::Truncated(size / 8));
    import_fails(&home, &server, "cannot get `model.safetensors`");
    let server = Server::start(files(), Manner::Whole);
    worked(&import(home.path(), &server.address, &[]));
    let imported = model::load(&home.path().join("tiny.squeeze")).expect("a model file");
    assert_eq!(imported.weights, weights());
}
