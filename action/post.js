'use strict'
// Without the state that the main step saves before it makes anything, there is nothing to clean up.
if (process.env.STATE_builder) require('./run').run('--post')
