'use strict'
// Installs everything ahead of the first job, for an image of runners: `node action/prepare.js [PYTHON]`.
const { prepare, prepareLater } = require('./environment')
const { SetupError } = require('./python')

async function install(wanted) {
  try {
    await prepare(wanted)
    const { python } = await prepare(wanted) // the second start compiles
    await prepareLater(python, 'this image', console.log)
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    console.error(error.message)
    process.exitCode = 2
  }
}

install(process.argv[2])
