#!/usr/bin/env node
/**
 * Makes a checkout ready to run: libtorch, npm packages, the native addon, the compiled TypeScript. What is
 * done already is not done again. Only this file must be understood by an old Node, so that it can say so.
 */

var OLDEST = 20;

if (parseInt(process.versions.node, 10) < OLDEST) {
  process.stderr.write(
    'setup: esvit needs Node ' +
      OLDEST +
      ' or newer, but this is Node ' +
      process.versions.node +
      '. Install a current one from https://nodejs.org (or `nvm install 22`) and run the command again.\n',
  );
  process.exitCode = 1;
} else {
  import('./setup/main.mjs')
    .then((setup) => setup.main(process.argv.slice(2), process.env))
    .then((code) => {
      process.exitCode = code;
    });
}
