'use strict'
// Runs the product's entry point and forwards what the runner sends: all logic is in Python.
const path = require('node:path')
const child = require('./child')
const { prepare } = require('./environment')
const { offer } = require('./launcher')
const { Interrupted, SetupError } = require('./python')
const { forProduct } = require('./workspace')

const start = path.join(__dirname, 'start.py')

/** Run `kube-builder github …`; the exit code of this process becomes its exit code. */
async function run(...args) {
  try {
    const { python, packages } = await prepare(process.env.INPUT_PYTHON, process.env.INPUT_BUNDLE)
    // Isolated: a PYTHONPATH of the user's must not replace our packages, and is still there for what we start.
    const command = [python, '-I', '-S', start, packages, process.execPath]
    const options = { stdio: 'inherit', env: forProduct() }
    const { code } = await child.run(command[0], [...command.slice(1), 'github', ...args], options)
    if (code === 0 && args.includes('--setup')) offer(command)
    process.exitCode = code
  } catch (error) {
    if (error instanceof Interrupted) {
      process.exitCode = error.code
    } else if (error instanceof SetupError) {
      console.log(`::error title=kube-builder::${error.message.replaceAll('%', '%25')}`)
      process.exitCode = 2
    } else {
      throw error
    }
  }
}

module.exports = { run }
