import { strangersContract } from '../contracts/strangers.ts'
import { natsTest } from '../support/with-nats.ts'
import { natsEngines } from './support.ts'

strangersContract({ test: natsTest, over: 'over NATS', engines: natsEngines })
