'use strict'
require('../action/launcher').withdraw()
require('../action/post')
