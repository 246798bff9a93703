import { mailboxContract } from '../contracts/mailbox.ts'
import { natsTest } from '../support/with-nats.ts'
import { natsEngines } from './support.ts'

mailboxContract({ test: natsTest, over: 'over NATS', engines: natsEngines })
