// ioredis as a contender: `node main.js <port> <get64|set64> <callers> <autopipelining: true|false>`.
//
// Every line `run <warm-up ms> <measured ms>` on standard input makes one round of closed-loop callers, answered by one
// line of numbers: operations, nanoseconds, microseconds of processor time, then `latency in microseconds:how many`.
"use strict";

const { Redis } = require("ioredis");
const readline = require("node:readline");

const [port, load, callers, autopipelining] = process.argv.slice(2);
const redis = new Redis({ port: Number(port), host: "127.0.0.1", enableAutoPipelining: autopipelining === "true" });
const value = Buffer.alloc(64, "x");
// Above so many callers only every eighth latency is taken, as for every other contender.
const oneIn = Number(callers) <= 16 ? 1 : 8;

const operation = {
  get64: (key) => redis.getBuffer(key),
  set64: (key) => redis.set(key, value),
}[load];

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function round(warmUp, measured) {
  let stop = false;
  let operations = 0;
  let latencies = new Map();
  const caller = async (n) => {
    const key = `bench:user:${String(n % 2000).padStart(4, "0")}`;
    for (let turn = 0; !stop; turn++) {
      const start = turn % oneIn === 0 ? performance.now() : 0;
      const reply = await operation(key);
      if (reply === null) throw new Error(`no such key: ${key}`);
      operations++;
      if (start > 0) {
        const latency = Math.round((performance.now() - start) * 1000);
        latencies.set(latency, (latencies.get(latency) ?? 0) + 1);
      }
    }
  };
  const all = Array.from({ length: Number(callers) }, (_, n) => caller(n));
  await sleep(warmUp);
  operations = 0;
  latencies = new Map();
  const [start, cpu] = [process.hrtime.bigint(), process.cpuUsage()];
  await sleep(measured);
  const [took, used, answered] = [process.hrtime.bigint() - start, process.cpuUsage(cpu), operations];
  const taken = Array.from(latencies, ([latency, count]) => `${latency}:${count}`);
  stop = true;
  await Promise.all(all);
  return [answered, took, used.user + used.system, ...taken].join(" ");
}

async function main() {
  await redis.ping();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [, warmUp, measured] = line.split(" ").map(Number);
    console.log(await round(warmUp, measured));
  }
  redis.disconnect();
}

main().catch((error) => {
  console.error(`ioredis: ${error.message}`);
  process.exit(1);
});
