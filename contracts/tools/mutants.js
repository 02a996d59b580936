#!/usr/bin/env node
// Tries whether the tests notice when the contract is changed for the worse: mutants.js FORGE
// or gives the code of one: mutants.js --code NAME
// Each mutant is one exact replacement in the source, made in memory, compiled, and given to the tests in the environment.
"use strict";
const { spawn } = require("child_process");
const fs = require("fs");
const os = require("os");
const path = require("path");
const { SETTINGS, compile, read } = require("./artifacts.js");

const CONTRACT = "CumulativeDistributor";
const [forge, one] = process.argv.slice(2);
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "mutants-"));
process.on("exit", () => fs.rmSync(scratch, { recursive: true, force: true }));

function mutated(source, { name, find, replace }) {
  const places = source.split(find).length - 1;
  if (places !== 1) throw new Error(`mutant "${name}": its text is in the source ${places} times, not once`);
  return source.replace(find, () => replace);
}

// The creation code of each source, all compiled together and, since that is six times as quick, without the optimizer.
function codesOf(sources) {
  const texts = Object.fromEntries(sources.map((source, number) => [`src/${number}.sol`, source]));
  const wanted = { "*": { [CONTRACT]: ["evm.bytecode.object"] } };
  const { contracts } = compile(texts, { ...SETTINGS, optimizer: { enabled: false } }, wanted);
  return sources.map((_, number) => "0x" + contracts[`src/${number}.sol`][CONTRACT].evm.bytecode.object);
}

// What the tests say of a contract: the first failing one, or undefined if all pass.
function firstFailure(code, ...filter) {
  const environment = {
    ...process.env,
    DISTRIBUTOR_CODE: code,
    FOUNDRY_PROFILE: "mutants",
    FOUNDRY_FUZZ_FAILURE_PERSIST_DIR: path.join(scratch, "fuzz"),
    FOUNDRY_INVARIANT_FAILURE_PERSIST_DIR: path.join(scratch, "invariant"),
    FOUNDRY_TEST_FAILURES_FILE: path.join(scratch, "failures"),
  };
  return new Promise((resolve, reject) => {
    const child = spawn(forge, ["test", "--threads", "1", "--fail-fast", ...filter], { env: environment });
    let said = "";
    child.stdout.on("data", (text) => (said += text));
    child.stderr.on("data", (text) => (said += text));
    child.on("error", reject);
    child.on("close", (status) => {
      // A failing invariant's name comes after the calls that led to it.
      const failure = said.match(/^\[FAIL[^\n]*?\] (\w+)\(|^\[FAIL[^]*?^ (\w+)\(/m);
      if (failure !== null) resolve(failure[1] ?? failure[2]);
      else if (status === 0 && / 0 failed/.test(said)) resolve(undefined);
      else reject(new Error(`forge test ended with ${status}:\n${said}`));
    });
  });
}

// Of all suites, or of the one that must find this mutant without the others' help.
async function killer(code, by) {
  if (by !== undefined) return firstFailure(code, "--match-contract", by);
  const units = await firstFailure(code, "--no-match-contract", "InvariantsTest");
  return units ?? (await firstFailure(code, "--match-contract", "InvariantsTest"));
}

async function main() {
  const source = read("src/CumulativeDistributor.sol");
  const all = JSON.parse(read("mutants/mutants.json"));
  if (forge === "--code") {
    const [code] = codesOf([mutated(source, all.find(({ name }) => name === one))]);
    process.stdout.write(`${code}\n`);
    return;
  }
  const [unchanged, ...codes] = codesOf([source, ...all.map((mutant) => mutated(source, mutant))]);
  const failing = await killer(unchanged);
  if (failing !== undefined) throw new Error(`${failing} fails on the contract as it is`);
  const alive = [];
  let next = 0;
  const work = async () => {
    while (next < all.length) {
      const number = next++;
      const found = await killer(codes[number], all[number].by);
      const name = all[number].name + (all[number].by ? `, to ${all[number].by} alone` : "");
      process.stdout.write(found === undefined ? `ALIVE: ${name}\n` : `killed: ${name} (${found})\n`);
      if (found === undefined) alive.push(name);
    }
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, work));
  process.stdout.write(`${all.length} mutants, ${alive.length} alive\n`);
  if (alive.length > 0) process.exitCode = 1;
}

main().catch((error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
