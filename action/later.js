'use strict'
// Installs the second layer of packages: `node later.js PYTHON MODULE`, started by start.py when a job first imports MODULE.
// Its output is the folder of the packages or, with exit code 2, why there is none. Lines for the log go to the other stream.
const { interrupt } = require('./child')
const { prepareLater } = require('./environment')
const { Interrupted, SetupError } = require('./python')

// The process that asked holds the other end: when it has ended, however it did, no one needs the packages.
process.stdin.on('end', () => interrupt('SIGTERM')).resume()

async function install(python, module) {
  try {
    process.stdout.write(await prepareLater(python, module, console.error))
  } catch (error) {
    if (error instanceof Interrupted) process.exitCode = error.code
    else if (error instanceof SetupError) process.exitCode = 2
    else throw error
    process.stdout.write(error.message)
  } finally {
    process.stdin.destroy()
  }
}

install(...process.argv.slice(2))
