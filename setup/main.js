'use strict'
require('../action/run').run('--setup')
