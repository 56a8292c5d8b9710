use crate::world::{World, datum, plan};
use howdah_worker::runtime::scripted::Answer;
#[tokio::test(flavor = "multi_thread")]
async fn speed() {
    let mut world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    world.store = howdah_store::Store::open(&howdah_store::StoreConfig::new(format!("file://{}", dir.path().display()))).await.unwrap();
    world.runtime.define("triv", |call| { let f = call.var("in").unwrap().to_owned(); let b = std::fs::read(call.path(&f)).unwrap(); std::fs::write(call.path("/pfs/out").join(f.rsplit('/').next().unwrap()), b).unwrap(); Answer::ok() });
    let worker = world.worker("w", 2).await;
    let n = 4000;
    let names: Vec<String> = (0..n).map(|n| format!("/f{n}")).collect();
    let files: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), name.clone().into_bytes())).collect();
    let root = world.commit(&files).await;
    let mut sets = Vec::new();
    for chunk in names.chunks(n / 8) { let mut s = Vec::new(); for name in chunk { s.push(datum(1, vec![world.input("in", root, name).await])); } sets.push(s); }
    let plan = plan("edges", 1, &["triv"]);
    let t = std::time::Instant::now();
    world.start(&plan, sets).await;
    for s in 0..8 { world.result(&plan, s).await; }
    let e = t.elapsed();
    let m = &worker.metrics;
    println!("SPEED {n} datums {:?}, {:.3} ms/datum/wall, slot ms/datum {:.3}; dl {:.3} proc {:.3} up {:.3}", e, e.as_secs_f64()*1e3/n as f64, 2.0*e.as_secs_f64()*1e3/n as f64,
      m.download_seconds.get_sample_sum()*1e3/n as f64, m.process_seconds.get_sample_sum()*1e3/n as f64, m.upload_seconds.get_sample_sum()*1e3/n as f64);
    worker.stop().await;
}
