//! A hit in memory costs a handful of allocations: a bound that a careless clone would break.

#[path = "../benches/support/mod.rs"]
mod support;

/// Measured 10 with two to spare: fields of the answer (map and values), request id, moka's read.
const ALLOCATIONS_MAX: u64 = 12;

#[test]
fn a_hit_costs_a_handful_of_allocations() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let front = runtime.block_on(support::warmed_front());
    let mut seen = Vec::new();
    for _ in 0..100 {
        let request = support::request("/prices/1");
        let mut answer = None;
        let counted =
            allocation_counter::measure(|| answer = Some(front.answer(support::CLIENT, request)));
        assert!(
            matches!(answer, Some(larder::front::Answering::AtOnce(_))),
            "a hit waits for nothing"
        );
        seen.push(counted.count_total);
    }
    // The store's own bookkeeping batches its work: what counts is the usual hit.
    seen.sort_unstable();
    assert!(seen[50] <= ALLOCATIONS_MAX, "{} allocations", seen[50]);
}
