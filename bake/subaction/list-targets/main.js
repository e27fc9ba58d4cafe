'use strict'
require('../../../action/run').run('--list-targets')
