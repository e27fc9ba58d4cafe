'use strict'
require('./run').run()
