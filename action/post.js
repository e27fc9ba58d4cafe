'use strict'
// Without the state that the main step saves before it makes anything, there is nothing to clean up.
if (process.env.STATE_builder || process.env.STATE_logins || process.env.STATE_kubeconfig) require('./run').run('--post')
