//! Every number under its name; `tests/metrics.rs` has the format and what a mount counts.

use super::*;
use crate::fs::stats::Scan;

fn stats() -> Stats {
    Stats {
        version: "1.2.3".into(),
        uptime_ms: 1500,
        worker_restarts: 2,
        volumes: 3,
        scan: Scan {
            state: "done".into(),
            ..Scan::default()
        },
        findings: [("lossy".to_string(), 4)].into(),
        errors: [("EIO".to_string(), 5)].into(),
        request_latency: Latency {
            bounds_us: vec![50, 1000],
            counts: vec![6, 0, 1],
            sum_ns: 2_000_000_000,
        },
        made: vec![Made {
            tier: "device".into(),
            device: "cuda:0".into(),
            codec: "jpeg 2000".into(),
            frames: 8,
            bytes: 9,
            ns: 500_000_000,
            ..Made::default()
        }],
        devices: vec![DeviceStats {
            name: "cuda:0".into(),
            batches: 10,
            batch_ms: 250,
            refusals: [("layout".to_string(), 11)].into(),
            retired: vec!["rle".into()],
            ..DeviceStats::default()
        }],
        cache_dir_budget_bytes: 12,
        cache_dir_is_writing: true,
        ..Stats::default()
    }
}

#[test]
fn every_number_is_under_its_name() {
    let text = text(&stats());
    for line in [
        r#"dicomfs_info{version="1.2.3"} 1"#,
        "dicomfs_uptime_seconds 1.5",
        "dicomfs_worker_restarts_total 2",
        "dicomfs_volumes 3",
        r#"dicomfs_scan_state{state="done"} 1"#,
        r#"dicomfs_scan_state{state="running"} 0"#,
        r#"dicomfs_findings{code="lossy"} 4"#,
        r#"dicomfs_errors_total{errno="EIO"} 5"#,
        r#"dicomfs_read_duration_seconds_bucket{le="0.00005"} 6"#,
        r#"dicomfs_read_duration_seconds_bucket{le="0.001"} 6"#,
        r#"dicomfs_read_duration_seconds_bucket{le="+Inf"} 7"#,
        "dicomfs_read_duration_seconds_sum 2",
        "dicomfs_read_duration_seconds_count 7",
        r#"dicomfs_frames_made_total{tier="device",device="cuda:0",decoder="",codec="jpeg 2000"} 8"#,
        r#"dicomfs_made_bytes_total{tier="device",device="cuda:0",decoder="",codec="jpeg 2000"} 9"#,
        r#"dicomfs_made_seconds_total{tier="device",device="cuda:0",decoder="",codec="jpeg 2000"} 0.5"#,
        r#"dicomfs_device_batches_total{device="cuda:0"} 10"#,
        r#"dicomfs_device_busy_seconds_total{device="cuda:0"} 0.25"#,
        r#"dicomfs_device_refusals_total{device="cuda:0",reason="layout"} 11"#,
        r#"dicomfs_device_retired_codecs{device="cuda:0"} 1"#,
        "dicomfs_cache_dir_budget_bytes 12",
        "dicomfs_cache_dir_is_writing 1",
    ] {
        let found = text.lines().filter(|found| *found == line).count();
        assert_eq!(found, 1, "{line} in\n{text}");
    }
}

#[test]
fn what_there_is_not_is_left_out() {
    let text = text(&Stats::default());
    for name in [
        "dicomfs_device_",
        "dicomfs_cache_dir_",
        "dicomfs_findings",
        "dicomfs_errors",
    ] {
        assert!(!text.contains(name), "{name} in\n{text}");
    }
    assert!(text.contains("\ndicomfs_read_duration_seconds_bucket{le=\"+Inf\"} 0\n"));
}
