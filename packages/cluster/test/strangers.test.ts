import test from 'ava'
import { strangersContract } from './contracts/strangers.ts'
import { memoryEngines } from './support/engines.ts'

strangersContract({ test, over: 'in memory', engines: memoryEngines })
