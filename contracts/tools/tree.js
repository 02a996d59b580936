// Writes a tree that the reference JavaScript made, and the claims that gas/ measures: tree.js DISTRIBUTOR SIZE FILE
// The file is a row of 32-byte words: root, number of accounts, and for each of them the account, and twice (first less,
// then more earned) the amount, the length of the proof, and the proof.
"use strict";
const fs = require("fs");
const { StandardMerkleTree } = require("@openzeppelin/merkle-tree");

const CHAIN = 31337n;
const ACCOUNTS = 102;
const UNIT = 10n ** 18n;
const [distributor, size, file] = process.argv.slice(2);

const account = (number) => "0x" + (0x1000000000000000000000000000000000000000n + BigInt(number)).toString(16);
const leaves = [];
for (let number = 0; leaves.length < Number(size); number++) {
  leaves.push([CHAIN, distributor, account(number), UNIT * BigInt(number + 1)]);
  if (number < ACCOUNTS) leaves.push([CHAIN, distributor, account(number), 2n * UNIT * BigInt(number + 1)]);
}
const tree = StandardMerkleTree.of(leaves, ["uint256", "address", "address", "uint256"]);

const words = [];
const word = (value) => words.push(BigInt(value).toString(16).padStart(64, "0"));
word(tree.root);
word(ACCOUNTS);
for (let number = 0; number < ACCOUNTS; number++) {
  word(account(number));
  for (const leaf of [2 * number, 2 * number + 1]) {
    const proof = tree.getProof(leaf);
    word(leaves[leaf][3]);
    word(proof.length);
    proof.forEach(word);
  }
}
fs.writeFileSync(file, Buffer.from(words.join(""), "hex"));
