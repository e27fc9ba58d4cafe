'use strict'
require('../action/run').run('--bake')
