'use strict'
require('../../../action/run').run('--matrix')
