import test from 'ava'
import { newestContract } from './contracts/newest.ts'
import { memoryEngines } from './support/engines.ts'

newestContract({ test, over: 'in memory', engines: memoryEngines })
