import { newestContract } from '../contracts/newest.ts'
import { natsTest } from '../support/with-nats.ts'
import { natsEngines } from './support.ts'

newestContract({ test: natsTest, over: 'over NATS', engines: natsEngines })
