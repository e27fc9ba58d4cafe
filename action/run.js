'use strict'
// Runs the product's entry point and forwards what the runner sends: all logic is in Python.
const { spawn } = require('node:child_process')
const path = require('node:path')
const { SetupError, prepare, root } = require('./environment')

/** Run `python -m ci_buildx action …`; the exit code of this process becomes its exit code. */
function run(...args) {
  let python
  try {
    python = prepare(process.env.INPUT_PYTHON)
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    console.log(`::error::${error.message}`)
    process.exitCode = 2
    return
  }
  const search = [root, process.env.PYTHONPATH].filter(Boolean).join(path.delimiter)
  const child = spawn(python, ['-m', 'ci_buildx', 'action', ...args], { stdio: 'inherit', env: { ...process.env, PYTHONPATH: search } })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => {
    console.log(`::error::kube-builder cannot run ${python}: ${error.message}`)
    process.exitCode = 2
  })
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 143)
  })
}

module.exports = { run }
