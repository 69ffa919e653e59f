// JSON Web Tokens made with npm `jose`, for tests of `wsp listen --auth-jwt-…`.
//
// usage: node tokens.js DIRECTORY
//
// Makes a key pair for each algorithm, writes the public halves as DIRECTORY/ALGORITHM.pem, and prints one line of JSON:
// for each algorithm the tokens good, expired, early, foreign (signed with another key) and named (with audience and
// issuer), and what somebody without a key could make of it: unsigned ("alg": "none") and confused (the public key taken
// for a secret). HS256 is signed with the secret in WSP_TEST_SECRET.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { SignJWT, UnsecuredJWT, exportSPKI, generateKeyPair } from "jose";

const [directory] = process.argv.slice(2);
const now = Math.floor(Date.now() / 1000);
const hour = 3600;

const sign = (alg, key, claims) => new SignJWT(claims).setProtectedHeader({ alg, typ: "JWT" }).sign(key);

const tokens = async (alg, key, other) => ({
  good: await sign(alg, key, { sub: "anna", exp: now + hour }),
  forever: await sign(alg, key, { sub: "anna" }),
  expired: await sign(alg, key, { sub: "anna", exp: now - 60 }),
  early: await sign(alg, key, { sub: "anna", nbf: now + hour, exp: now + 2 * hour }),
  foreign: await sign(alg, other, { sub: "anna", exp: now + hour }),
  named: await sign(alg, key, { aud: ["others", "wsp"], iss: "tests", exp: now + hour }),
  unsigned: new UnsecuredJWT({ sub: "anna", exp: now + hour }).encode(),
});

const made = {};
for (const alg of ["RS256", "PS256", "ES256", "ES384", "EdDSA"]) {
  const [pair, other] = [await generateKeyPair(alg), await generateKeyPair(alg)];
  const pem = await exportSPKI(pair.publicKey);
  writeFileSync(join(directory, `${alg}.pem`), pem);
  made[alg] = {
    ...(await tokens(alg, pair.privateKey, other.privateKey)),
    confused: await sign("HS256", Buffer.from(pem), { sub: "anna", exp: now + hour }),
  };
}
const secret = Buffer.from(process.env.WSP_TEST_SECRET);
made.HS256 = await tokens("HS256", secret, Buffer.from("another secret of some length, not ours"));
console.log(JSON.stringify(made));
