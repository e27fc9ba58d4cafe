'use strict'
// Child processes that get the signals the runner sends to us.
const { spawn } = require('node:child_process')
const { constants } = require('node:os')

let child // the one that runs now
let interrupted = 0

// For good, and before there is any child: a signal then must not end us, nor one that comes while we end by ourselves.
for (const name of ['SIGINT', 'SIGTERM']) {
  process.on(name, (signal, number) => {
    interrupted ||= 128 + number
    child?.kill(signal)
  })
}

/**
 * Run a program to its end.
 * @returns {Promise<{code: number, interrupted: number, output: string}>} its exit code (128 + signal where one ended
 *   it), the exit code that stands for the first signal we were sent until then (0 for none), and what it wrote to the
 *   streams that `stdio` pipes to us. Rejects where the program cannot be started.
 */
function run(program, args, options) {
  return new Promise((resolve, reject) => {
    child = spawn(program, args, options)
    const output = []
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (piece) => output.push(piece))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      resolve({ code: code ?? 128 + constants.signals[signal], interrupted, output: Buffer.concat(output).toString() })
    })
  })
}

module.exports = { run }
