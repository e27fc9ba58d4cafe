'use strict'
// Child processes that get the signals the runner sends to us.
const { spawn } = require('node:child_process')
const { constants } = require('node:os')

const signals = ['SIGINT', 'SIGTERM']

/**
 * Run a program to its end.
 * @returns {Promise<{code: number, interrupted: number, output: string}>} its exit code (128 + signal where one ended
 *   it), the exit code that stands for the first signal we were sent meanwhile (0 for none), and what it wrote to the
 *   streams that `stdio` pipes to us. Rejects where the program cannot be started.
 */
function run(program, args, options) {
  return new Promise((resolve, reject) => {
    let child
    let interrupted = 0
    // The handlers come first: a signal before the child is there would end us and leave it alone.
    const forward = (signal, number) => {
      interrupted ||= 128 + number
      child?.kill(signal)
    }
    for (const signal of signals) process.on(signal, forward)
    const settle = (act) => (...results) => {
      for (const signal of signals) process.off(signal, forward)
      act(...results)
    }
    child = spawn(program, args, options)
    const output = []
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (piece) => output.push(piece))
    child.on('error', settle(reject))
    child.on('close', settle((code, signal) => {
      resolve({ code: code ?? 128 + constants.signals[signal], interrupted, output: Buffer.concat(output).toString() })
    }))
  })
}

module.exports = { run }
