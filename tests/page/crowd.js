// A hundred services in four layers in place of the real mesh, and dots that last longer than the measurement.
(DOTS) => {
  const { model, scene } = mesh;
  const instance = (name) => ({
    name, state: "healthy", colour: "green", why: "", version: "v1", zone: "", pids: {}, restarts: 0, open: 0, half: 0,
    closed: 1, rps: 5, p50_ms: 3, p99_ms: 9, error_rate: 0,
  });
  const endpoint = (one) => ({
    id: one.name, health: "passing", breaker: "closed", reason: "", callers: {}, ewma_ms: 3, requests: 1, failures: 0,
    share: 1, left_s: null,
  });
  const services = Array.from({ length: 100 }, (_, i) => ({ name: `s${i}` }));
  const calls = [["ingress", "s0"]];
  for (let i = 1; i < 100; i += 1) calls.push([`s${Math.floor((i - 1) / 4)}`, `s${i}`]);
  const nodes = {};
  for (const name of ["ingress", ...services.map((one) => one.name)]) {
    const names = name === "ingress" ? [name] : [`${name}-1`, `${name}-2`];
    nodes[name] = { instances: names.map(instance), rps: 10, p50_ms: 3, p99_ms: 9, error_rate: 0, up: names.length };
  }
  const edges = {};
  for (const [caller, callee] of calls) {
    edges[`${caller}>${callee}`] = {
      rps: 10, p50_ms: 3, p95_ms: null, p99_ms: 9, error_rate: 0, requests: 1, failed: 0, retries: 0, budget: 1,
      endpoints: nodes[callee].instances.map(endpoint),
    };
  }
  model.hello({
    graph: { name: "crowd", ingress: "ingress", entrypoint: "s0", services, calls },
    picture: { phase: "up", nodes, edges, parts: [], load: {} },
    history: { keys: [], times: [], rows: [] }, events: [], watches: [],
  });
  const hops = calls.slice(1, 51).map(([a, b]) => [-1, `${a}-1`, `${b}-1`, 0, 60000, "ok", 1, 200]);
  const feed = () => {
    const { particles } = scene;
    while (particles.count + particles.waiting.length < DOTS) {
      particles.add([{ at: 0, id: "x", hops }], performance.now() / 1000, (one) => one.split("-")[0]);
    }
  };
  setInterval(feed, 50);
  feed();
}
