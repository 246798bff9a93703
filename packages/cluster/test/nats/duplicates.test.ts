import { duplicatesContract } from '../contracts/duplicates.ts'
import { natsTest } from '../support/with-nats.ts'
import { natsEngines } from './support.ts'

duplicatesContract({ test: natsTest, over: 'over NATS', engines: natsEngines })
