'use strict'
// Child processes that get the signals the runner sends to us.
const { spawn } = require('node:child_process')
const { constants } = require('node:os')

const children = new Set() // those that run now
let interrupted = 0

// Permanently, and before there is any child: a signal then must not end us, nor one that comes while we end by ourselves.
for (const name of ['SIGINT', 'SIGTERM']) process.on(name, interrupt)

/** End what runs, and let what is waited for end as by this signal. */
function interrupt(signal) {
  interrupted ||= 128 + constants.signals[signal]
  for (const child of children) child.kill(signal)
}

/**
 * Run a program to its end.
 * @returns {Promise<{code: number, interrupted: number, output: string}>} its exit code (128 + signal where one ended
 *   it), the exit code that represents the first signal we were sent until then (0 for none), and what it wrote to the
 *   streams that `stdio` pipes to us. Rejects where the program cannot be started.
 */
function run(program, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, options)
    children.add(child)
    const output = []
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (piece) => output.push(piece))
    child.on('error', (error) => {
      children.delete(child)
      reject(error)
    })
    child.on('close', (code, signal) => {
      children.delete(child)
      resolve({ code: code ?? 128 + constants.signals[signal], interrupted, output: Buffer.concat(output).toString() })
    })
  })
}

module.exports = { interrupt, run }
