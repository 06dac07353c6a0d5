// The system's clock.

import assert from "node:assert/strict";
import test from "node:test";

import { systemClock } from "../../dist/clock.js";

function clocks() {
  const wall = { time: 1_767_323_045_000, now: () => wall.time };
  const monotonic = { time: 5000, now: () => monotonic.time };
  const clock = systemClock(wall, monotonic);
  const pass = (ms, wallMs = ms) => {
    monotonic.time += ms;
    wall.time += wallMs;
    return clock.now();
  };
  return { clock, pass, start: wall.time };
}

test("time follows the monotonic clock, in whole milliseconds", () => {
  const { pass, start } = clocks();
  assert.equal(pass(0.9), start);
  assert.equal(pass(0.2), start + 1);
  assert.equal(pass(100, 100.5), start + 101);
});

test("time never goes back", () => {
  const { pass, start } = clocks();
  assert.equal(pass(1000), start + 1000);
  assert.equal(pass(0, -3_600_000), start + 1000);
  assert.equal(pass(-1, 0), start + 1000);
  assert.equal(pass(2, 2), start + 1001);
});

test("time includes the time during which the machine slept", () => {
  const { pass, start } = clocks();
  assert.equal(pass(10, 600_010), start + 600_010);
  assert.equal(pass(10, 10), start + 600_020);
});

test("small corrections of the time of day do not add up", () => {
  const { pass, start } = clocks();
  for (let n = 0; n < 10_000; n++) pass(1, n % 2 === 0 ? 2 : 0);
  for (let n = 0; n < 10_000; n++) pass(1, 1.05);
  assert.equal(pass(0), start + 20_000);
});

test("a forward jump of the time of day is reported once, at most every ten seconds", () => {
  const { clock, pass } = clocks();
  assert.equal(clock.hasLeapt(), false);
  pass(1000, 1999);
  pass(1000, -5000);
  assert.equal(clock.hasLeapt(), false, "corrections and steps back");
  pass(10, 3_600_000);
  assert.equal(clock.hasLeapt(), true);
  assert.equal(clock.hasLeapt(), false);
  pass(1000, 3_600_000);
  assert.equal(clock.hasLeapt(), false, "too soon");
  pass(9000);
  assert.equal(clock.hasLeapt(), true, "but not forgotten");
});

test("the system clock returns the time of day", () => {
  const clock = systemClock();
  const first = clock.now();
  assert.ok(Math.abs(first - Date.now()) < 60_000 && Number.isInteger(first));
  assert.ok(clock.now() >= first);
});
