'use strict'
require('../action/run').run('--merge')
